// The text HAProxy reads: one frontend, map files, a pool of generic backends with slots, a section per TCP port. Only
// numbers, addresses and names checked by assign.ts are ever printed, so no value from outside can end a line or begin a keyword.
import { type Assignment, backendName, type Slot, slotName, type TcpBackend, tcpName } from "./assignment.ts";
import { type CertificateFiles, listEntry } from "./certificates.ts";
import { expectProxy, listenOn, type RenderOptions, renderHead, renderTcpDefaults } from "./head.ts";
import { MAP_NAMES, type Maps, mapFile } from "./maps.ts";

export interface Rendered {
  cfg: string;
  /** File name -> text. */
  maps: Record<string, string>;
  certificateList: string;
}

/** Where a free slot points: a port where nothing listens, and the slot is in maintenance besides. */
export const PARKED = { address: "127.0.0.1", port: 1 } as const;

export interface Wanted {
  assignment: Assignment;
  maps: Maps;
  certificates: CertificateFiles;
}

export function render({ assignment, maps, certificates }: Wanted, options: RenderOptions): Rendered {
  const backends = assignment.backends.map(({ slots }, b) =>
    [
      `backend ${backendName(b)} from pool`,
      "  use-server %[var(txn.server)] if { var(txn.server) -m found }",
      ...slots.map((slot, s) => serverLine(slot, s)),
      "",
    ].join("\n"),
  );
  const tcp = (assignment.tcp ?? []).map((backend) => renderPort(backend, options));
  const tcpDefaults = tcp.length > 0 ? [renderTcpDefaults(options)] : [];
  return {
    cfg: [renderHead(options), ...backends, ...tcpDefaults, ...tcp].join("\n"),
    maps: Object.fromEntries(MAP_NAMES.map((name) => [mapFile(name), mapText(maps[name])])),
    certificateList: [...certificates]
      .map(([file, certificate]) => `${listEntry(options.directory, file, certificate)}\n`)
      .sort()
      .join(""),
  };
}

/** What only a reload changes: everything but the addresses. */
export function renderShape(assignment: Assignment, options: RenderOptions): string {
  const ports = (assignment.tcp ?? []).map(
    ({ port, proxyProtocol = "", slots }) => `${port} ${proxyProtocol} ${slots.length}`,
  );
  return [
    renderHead(options),
    renderTcpDefaults(options),
    ...assignment.backends.map(({ slots }) => slots.length),
    ...ports,
  ].join("\n");
}

function serverLine(slot: Slot | null, s: number, words = ""): string {
  const { address, port } = slot ?? PARKED;
  return `  server ${slotName(s)} ${address}:${port}${words}${slot?.state === "up" ? "" : " disabled"}`;
}

function renderPort({ port, proxyProtocol, slots }: TcpBackend, { bind, proxySources = [] }: RenderOptions): string {
  const send = proxyProtocol === "v1" ? " send-proxy check-send-proxy" : " send-proxy-v2 check-send-proxy";
  return [
    `listen ${tcpName(port)} from tcp`,
    `  bind ${listenOn(bind, port)}`,
    ...(proxySources.length > 0 ? [`  ${expectProxy(proxySources)}`] : []),
    ...slots.map((slot, s) => serverLine(slot, s, proxyProtocol ? send : "")),
    "",
  ].join("\n");
}

function mapText(map: ReadonlyMap<string, string>): string {
  return [...map]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key} ${value}\n`)
    .join("");
}

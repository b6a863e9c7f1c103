// The text HAProxy reads: one frontend, map files, a pool of generic backends with slots, a section per TCP port. Only
// numbers, addresses and names checked by assign.ts are ever printed, so no value from outside can end a line or begin a keyword.
import {
  type Assignment,
  type Backend,
  backendName,
  type Slot,
  slotName,
  type TcpBackend,
  tcpName,
} from "./assignment.ts";
import { type CertificateFiles, listEntry } from "./certificates.ts";
import { renderHead, renderTcpDefaults } from "./head.ts";
import { MAP_NAMES, type Maps, mapFile } from "./maps.ts";
import type { ReloadReason } from "./reload.ts";
import { expectProxy, listenOn, type RenderOptions } from "./render-options.ts";
import { atOnce } from "./slices.ts";

/** Backends between two looks at the clock. */
const STEP = 100;
const ENTRIES = 1_000;

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

export const render = (wanted: Wanted, options: RenderOptions): Rendered => atOnce(rendering(wanted, options));

/** `lines`: of backends that are the same objects as when they were rendered last. */
export function* rendering(
  { assignment, maps, certificates }: Wanted,
  options: RenderOptions,
  lines = new WeakMap<Backend, string>(),
): Generator<void, Rendered> {
  const backends: string[] = [];
  for (const [b, backend] of assignment.backends.entries()) {
    if (b % STEP === 0) yield;
    const rule = "  use-server %[var(txn.server)] if { var(txn.server) -m found }";
    const servers = lines.get(backend) ?? backend.slots.map((slot, s) => serverLine(slot, s)).join("\n");
    lines.set(backend, servers);
    backends.push(`backend ${backendName(b)} from ${backend.protocol ?? "pool"}\n${rule}\n${servers}\n`);
  }
  const tcp = (assignment.tcp ?? []).map((backend) => renderPort(backend, options));
  const tcpDefaults = tcp.length > 0 ? [renderTcpDefaults(options)] : [];
  yield;
  const texts: Record<string, string> = {};
  for (const name of MAP_NAMES) {
    texts[mapFile(name)] = yield* mapText(maps[name]);
  }
  return {
    cfg: [renderHead(options, assignment.backends.length), ...backends, ...tcpDefaults, ...tcp].join("\n"),
    maps: texts,
    certificateList: [...certificates]
      .map(([file, certificate]) => `${listEntry(options.directory, file, certificate)}\n`)
      .sort()
      .join(""),
  };
}

const PORTS_FROM = "\n# ports\n";

/** What only a reload changes: everything but the addresses. */
export function renderShape(assignment: Assignment, options: RenderOptions): string {
  const ports = (assignment.tcp ?? []).map(
    ({ port, proxyProtocol = "", slots }) => `${port} ${proxyProtocol} ${slots.length}`,
  );
  const sizes = assignment.backends.map(({ slots, protocol = "" }) => `${slots.length}${protocol}`);
  return (
    [renderHead(options, assignment.backends.length), renderTcpDefaults(options), ...sizes].join("\n") +
    PORTS_FROM +
    ports.join("\n")
  );
}

/** What a reload from one shape to the other is for. */
export function shapeChange(loaded: string | undefined, wanted: string): ReloadReason | undefined {
  if (loaded === wanted) return undefined;
  return loaded?.split(PORTS_FROM)[0] === wanted.split(PORTS_FROM)[0] ? "ports" : "all";
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

function* mapText(map: ReadonlyMap<string, string>): Generator<void, string> {
  const lines: string[] = [];
  for (const [key, value] of map) {
    if (lines.length % ENTRIES === 0) yield;
    lines.push(`${key} ${value}\n`);
  }
  return lines.join("");
}

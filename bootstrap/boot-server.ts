// All parts of the boot server, wired: DHCP, TFTP, HTTP, their tables on disk, and what each tells the timeline. Started by
// main with the real control plane, by tests with a fake one.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { BootTarget } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import type { Log } from "#lib/log.ts";
import { type BootConfig, offerConfig } from "./config.ts";
import { createLeases, type Lease } from "./dhcp/leases.ts";
import { type DhcpServer, dhcpServer } from "./dhcp/server.ts";
import { createBootPlane } from "./http/boot-plane.ts";
import { autoexecScript } from "./http/ipxe.ts";
import { bootHttpServer } from "./http/server.ts";
import { identityOfClient } from "./identity.ts";
import { openImages } from "./images.ts";
import { openJournal } from "./journal.ts";
import { listenFault } from "./listen-fault.ts";
import { createMachines } from "./machines.ts";
import { kernelNeighbours, type Neighbours } from "./neighbours.ts";
import { dhcpSteps, tftpSteps, transferStep } from "./steps.ts";
import { fixedFiles } from "./tftp/files.ts";
import { tftpServer } from "./tftp/server.ts";
import type { Timeline } from "./timeline.ts";
import { type BootRecord, createTokens } from "./tokens.ts";

export interface BootServerOptions {
  config: BootConfig;
  timeline: Timeline;
  grant: (boot: BootRecord) => string;
  log: Log;
  neighbours?: Neighbours;
  /** Requests per second and address on the boot plane. */
  requestsPerSecond?: number;
}

export interface BootServer {
  setTarget(target: BootTarget): void;
  /** Looks for boot images; until the first time none is served, and machines wait. */
  scanImages(): Promise<void>;
  readonly dhcp: DhcpServer;
  close(): Promise<void>;
}

const IPXE_FILES = ["undionly.kpxe", "snponly.efi"];

export async function bootServer(options: BootServerOptions): Promise<BootServer> {
  const { config, timeline, grant, log } = options;
  const { address, stateDir } = config;
  await using stack = new AsyncDisposableStack();
  const base = `http://${address}:${config.httpPort}`;
  const neighbours = options.neighbours ?? kernelNeighbours(config.interface);
  const machines = createMachines();
  const images = openImages({ directory: config.imagesDir, publicKeyFile: config.imageKeyFile, log });
  const bootFiles = await readBootFiles(config.ipxeDir, base);

  const reservations = new Map(Object.entries(config.reservations));
  const leases = createLeases({ ...config.range, reservations, exclude: [address, config.router] });
  const leaseJournal = await openJournal<Lease>({
    path: join(stateDir, "leases.journal"),
    replay: leases.apply,
    live: leases.durable,
    log,
  });
  stack.defer(() => leaseJournal.close());
  const tokens = createTokens({ save: (boot) => tokenJournal.append(boot) });
  const tokenJournal = await openJournal<BootRecord>({
    path: join(stateDir, "boots.journal"),
    replay: tokens.replay,
    live: tokens.boots,
    log,
  });
  stack.defer(() => tokenJournal.close());

  const macAt = (ip: string) => leases.byAddress(ip)?.mac ?? neighbours(ip);
  const dhcp = await dhcpServer({
    config: offerConfig(config),
    ownMacs: config.ownMacs,
    leases,
    saveLease: leaseJournal.append,
    machineOf: (client) => {
      if (client.kind !== "os" && machines.see(identityOfClient(client)) === undefined) return undefined;
      return machines.offerMachine(client.mac);
    },
    onStep: dhcpSteps({ timeline, machines, mode: config.mode }),
    log,
  });
  stack.defer(() => dhcp.close());
  const tftp = await tftpServer({
    address,
    port: 69,
    files: fixedFiles(bootFiles),
    log,
    onTransfer: tftpSteps({ timeline, machines, macAt, progressed: dhcp.progressed }),
  }).catch(async (cause) => {
    throw await listenFault("udp", address, 69, "TFTP server", cause);
  });
  stack.defer(() => tftp.close());
  const plane = createBootPlane({
    base,
    machines,
    images,
    tokens,
    timeline,
    neighbours,
    grant,
    progressed: dhcp.progressed,
  });
  const http = await bootHttpServer({
    address,
    port: config.httpPort,
    plane,
    images,
    bootFiles,
    onTransfer: (transfer, boot) => {
      if (boot) timeline.record(transferStep(transfer, boot, machines.identity(boot.mac)));
    },
    log,
    requestsPerSecond: options.requestsPerSecond,
  });
  stack.defer(() => http.close());
  const parts = stack.move();
  return {
    dhcp,
    setTarget: (target) => machines.setTarget(target),
    scanImages: () => images.scan(),
    close: () => parts.disposeAsync(),
  };
}

async function readBootFiles(directory: string, base: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>([["autoexec.ipxe", Buffer.from(autoexecScript({ base }))]]);
  for (const name of IPXE_FILES) {
    const content = await readFile(join(directory, name)).catch((cause) => {
      throw new Fault("unavailable", `${join(directory, name)} cannot be read; install it with: apt-get install ipxe`, {
        cause,
      });
    });
    files.set(name, content);
  }
  return files;
}

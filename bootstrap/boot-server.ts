// All parts of the boot server, wired: DHCP, TFTP, HTTP, their tables on disk, and what each tells the timeline. Started by
// main with the real control plane, by tests with a fake one.
import { join } from "node:path";
import type { BootTarget } from "#api/boot.ts";
import type { Log } from "#lib/log.ts";
import { steadyNow } from "#lib/time.ts";
import { type BootConfig, offerConfig } from "./config.ts";
import { UKI_FILE } from "./dhcp/boot-files.ts";
import { type DhcpServer, dhcpServer } from "./dhcp/server.ts";
import { createBootPlane } from "./http/boot-plane.ts";
import { createInventoryRoom } from "./http/inventory.ts";
import { bootHttpServer } from "./http/server.ts";
import { inventoryKey } from "./identity/inventory-nonce.ts";
import { createMachines } from "./identity/machines.ts";
import { kernelNeighbours, type Neighbours } from "./identity/neighbours.ts";
import { createSight } from "./identity/sight.ts";
import type { BootRecord } from "./identity/tokens.ts";
import { openImages } from "./images.ts";
import { createInventories, type Inventories } from "./inventories.ts";
import { listenFault } from "./listen-fault.ts";
import { readLoaders } from "./loaders.ts";
import { type MediaRoom, openMediaRoom } from "./media/room.ts";
import { isProbe } from "./preflight/card.ts";
import { type Lan, ownLan } from "./preflight/lan.ts";
import { rootImages } from "./root-images.ts";
import { diskFile, signedImageOf } from "./signed-image.ts";
import { dhcpSteps, loaderSteps } from "./steps/dhcp.ts";
import { httpFileSteps, tftpSteps, transferStep, unknownFileSteps } from "./steps/files.ts";
import { openTables } from "./tables.ts";
import { fixedFiles } from "./tftp/files.ts";
import { tftpServer } from "./tftp/server.ts";
import type { Timeline } from "./timeline.ts";

export interface BootServerOptions {
  config: BootConfig;
  timeline: Timeline;
  grant: (boot: BootRecord) => string;
  /** Control is heard. True unless given. */
  controlIsThere?: () => boolean;
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
  /** On their way to control. */
  readonly inventories: Inventories;
  /** Other DHCP servers of its LAN, asked for while `run` goes on. */
  readonly lan: Lan;
  /** ISOs of machines, for the virtual drives of their BMCs. */
  readonly media: Pick<MediaRoom, "begin">;
  close(): Promise<void>;
}

export async function bootServer(options: BootServerOptions): Promise<BootServer> {
  const { config, timeline, grant, log } = options;
  const { address, stateDir } = config;
  await using stack = new AsyncDisposableStack();
  const base = `http://${address}:${config.httpPort}`;
  const neighbours = options.neighbours ?? kernelNeighbours(config.interface);
  const machines = createMachines();
  const images = openImages({ directory: config.imagesDir, publicKeyFile: config.imageKeyFile, log });
  const bootFiles = await readLoaders(config, base, log);

  const { leases, saveLease, learnt, tokens, once } = await openTables(config, { log, stack });

  const { network, relays, refused } = config;
  const lan = ownLan(config, log);
  const leasedTo = (ip: string) => {
    const lease = leases.byAddress(ip);
    return lease?.state === "bound" && lease.expiresAtMs > steadyNow() ? lease.mac : undefined;
  };
  const key = await inventoryKey(join(stateDir, "inventory.key"));
  const media = await openMediaRoom({ base, stateDir, ipxeDir: config.ipxeDir, bootFiles, key, log });
  stack.defer(() => media.close());
  const sight = createSight({ network, relays, refused, neighbours, leasedTo, vouchedFor: media.cardAt });
  const signed = (ip?: string) => {
    const card = ip === undefined ? undefined : sight.sourceOf(ip).card;
    return signedImageOf(machines.target, card === undefined ? undefined : machines.find(card), images);
  };
  const fixed = fixedFiles(bootFiles);
  const loaderStep = loaderSteps({ timeline });
  const dhcp = await dhcpServer({
    config: offerConfig(config, {
      has: (name) => bootFiles.has(name) || (name === UKI_FILE && signed() !== undefined),
    }),
    ownMacs: config.ownMacs,
    leases,
    saveLease,
    admits: (ip) => ip === "0.0.0.0" || sight.admits(ip) || relays.some(({ uplink }) => uplink === ip),
    admitsPacket(ip, giaddr, mac, shown) {
      if (!sight.admitsPacket(ip, giaddr)) return false;
      if (giaddr !== "0.0.0.0") sight.carried(mac, giaddr, shown);
      return true;
    },
    machineOf: ({ kind, mac }) => {
      if (kind !== "os" && !isProbe(mac) && !machines.admit(mac, false)) return undefined;
      return machines.offerMachine(mac);
    },
    learnt,
    onStep: dhcpSteps({ timeline, mode: config.mode, rogue: (server) => lan.named(server) }),
    onLoaderRefused: loaderStep.refused,
    log,
  });
  stack.defer(() => dhcp.close());
  const fetching = { timeline, cardAt: (ip: string) => sight.sourceOf(ip).card, ladder: dhcp.ladder };
  const tftp = await tftpServer({
    address,
    port: 69,
    singlePort: config.tftpSinglePort,
    files: {
      open(name, client) {
        const image = name === UKI_FILE ? signed(client.address) : undefined;
        return image === undefined ? fixed.open(name, client) : diskFile(image);
      },
    },
    caps: { blksizeBytes: config.tftpMaxBlock, windowsize: config.tftpMaxWindow },
    log,
    admits: sight.admits,
    onTransfer: tftpSteps(fetching),
    onUnknownName: unknownFileSteps(fetching),
  }).catch(async (cause) => {
    throw await listenFault("udp", address, 69, "TFTP server", cause);
  });
  stack.defer(() => tftp.close());
  const inventories = createInventories({ log });
  const inventory = createInventoryRoom({ base, key, machines, sight, timeline, inventories });
  const roots = rootImages({ tokens, images });
  const plane = createBootPlane({
    base,
    machines,
    images,
    tokens,
    timeline,
    sight,
    inventory,
    grant,
    rootFrom: roots.from,
    rootDone: roots.done,
    once,
    media,
    ...(options.controlIsThere ? { controlIsThere: options.controlIsThere } : {}),
    ran(claimed, observed, loader) {
      dhcp.ladder.progressed(claimed.mac);
      const lesson = dhcp.ladder.ran(claimed.mac, loader, claimed.product);
      if (lesson !== undefined) loaderStep.learnt(lesson, claimed, observed);
    },
  });
  const http = await bootHttpServer({
    address,
    port: config.httpPort,
    plane,
    inventory,
    images,
    bootFiles,
    signed,
    media,
    admits: (ip) => sight.admits(ip) || (media.isOpen(ip) && !sight.isRefused(ip)),
    onBootFile: httpFileSteps(fetching),
    onTransfer: (transfer, token, ip) => {
      const boot = token ?? inventory.bootAt(ip);
      if (boot && transfer.artefact.part === "squashfs") roots.done(boot.mac);
      if (boot) timeline.record(transferStep(transfer, boot, sight.observed(sight.sourceOf(ip), boot.mac)));
    },
    log,
    requestsPerSecond: options.requestsPerSecond,
  });
  stack.defer(() => http.close());
  const parts = stack.move();
  return {
    dhcp,
    inventories,
    lan,
    media,
    setTarget(target) {
      sight.setJobNetworks(target.jobNetworks ?? []);
      machines.setTarget(target);
      once.setTarget(target);
      const joined = target.machines.flatMap(({ joinedBootId }) => joinedBootId ?? []);
      tokens.joined(joined);
      roots.joined(joined);
    },
    scanImages: () => images.scan(),
    close: () => parts.disposeAsync(),
  };
}

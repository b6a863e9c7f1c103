// The DHCP sockets. Receives on 0.0.0.0:67 (the only way Node hears limited broadcasts), sends from the interface's own
// address:67 (the only way a broadcast leaves by that interface, default route or not), answers port 4011 from 4011.

import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import type { Log } from "#lib/log.ts";
import { steadyNow } from "#lib/time.ts";
import { listenFault } from "../listen-fault.ts";
import { isProbe } from "../preflight/card.ts";
import { rateLimit } from "../rate.ts";
import { loadersFor } from "./boot-files.ts";
import { type Client, classify } from "./classify.ts";
import type { OfferConfig, OfferMachine, Reply } from "./exchange.ts";
import { createLadder, type Ladder, type Shown } from "./ladder.ts";
import type { Learnt } from "./learnt.ts";
import type { Lease, Leases } from "./leases.ts";
import type { Loader, Rung } from "./loader.ts";
import { type Decision, offer } from "./offer.ts";
import { address, MESSAGE, messageType, OPTION } from "./options.ts";
import { encodePacket, NO_ADDRESS, parsePacket } from "./packet.ts";

export interface DhcpServerOptions {
  config: OfferConfig;
  /** MACs of this machine: its own DHCP client is none of our business. */
  ownMacs: ReadonlySet<string>;
  leases: Leases;
  /** Resolves when the lease is on disk; an ACK leaves only then. */
  saveLease: (lease: Lease) => Promise<void>;
  /** False: not read. By who sent the packet. */
  admits?: (address: string) => boolean;
  /** False: not answered. By who sent it, the relay it names (`0.0.0.0` for none), and the client's address that it shows. */
  admitsPacket?: (address: string, giaddr: string, mac: string, shown: string | undefined) => boolean;
  /** The machine of a client, or undefined when the table of unknown machines is full. */
  machineOf: (client: Client) => OfferMachine | undefined;
  /** Told every decision that was not ignored, after its replies left. */
  onStep?: (client: Client, decision: Decision, rung: Rung) => void;
  /** A machine fetched a loader and came back as firmware: `next` is what it is offered now. */
  onLoaderRefused?: (client: Client, refused: Loader, next: Loader | undefined) => void;
  learnt?: Learnt | undefined;
  log: Log;
  nowMs?: () => number;
  /** Ports of the wire, and where clients listen; tests without root use others. */
  ports?: { server: number; client: number; bootServer: number };
}

export interface DhcpServer {
  /** Told what machines do with what they were offered: seen by TFTP or HTTP. */
  readonly ladder: Pick<Ladder, "progressed" | "fetched" | "ran">;
  readonly counts: { received: number; malformed: number; limited: number; replied: number };
  close(): Promise<void>;
}

const MAX_CLIENTS = 16_384;

export async function dhcpServer(options: DhcpServerOptions): Promise<DhcpServer> {
  const {
    config,
    leases,
    log,
    ownMacs,
    nowMs = steadyNow,
    ports = { server: 67, client: 68, bootServer: 4011 },
  } = options;
  const perMac = rateLimit({ perSecond: 10, burst: 20, maxKeys: MAX_CLIENTS });
  const ladder = createLadder({ maxKeys: MAX_CLIENTS, learnt: options.learnt });
  const counts = { received: 0, malformed: 0, limited: 0, replied: 0 };

  await closed(await bind("0.0.0.0", ports.server, "DHCP server", false));
  const broadcastRx = await bind("0.0.0.0", ports.server, "DHCP server");
  const unicast = await bind(config.address, ports.server, "DHCP server").catch(closing(broadcastRx));
  const bootServer = await bind(config.address, ports.bootServer, "PXE boot server").catch(
    closing(broadcastRx, unicast),
  );
  unicast.setBroadcast(true);

  async function handle(bytes: Buffer, source: RemoteInfo, port: 67 | 4011): Promise<void> {
    counts.received++;
    if (options.admits?.(source.address) === false) return;
    const parsed = parsePacket(bytes);
    if (!parsed.ok) {
      counts.malformed++;
      log.debug({ from: source.address, reason: parsed.reason }, "malformed DHCP packet dropped");
      return;
    }
    const { packet } = parsed;
    const client = classify(packet);
    if (client === undefined || packet.op !== 1 || ownMacs.has(client.mac)) return;
    // Our own question to the LAN comes back to us.
    if (isProbe(client.mac) && source.address === config.address) return;
    const shown = packet.ciaddr === NO_ADDRESS ? address(packet.options, OPTION.requestedAddress) : packet.ciaddr;
    if (options.admitsPacket?.(source.address, packet.giaddr, client.mac, shown) === false) return;
    if (!perMac.take(client.mac)) {
      counts.limited++;
      return;
    }
    const machine = options.machineOf(client);
    if (machine === undefined) return;
    const { rung, loader, refusedLoader } = shownTo(client, messageType(packet.options) === MESSAGE.discover);
    const decision = offer({ packet, client, port, source, machine, leases, rung, loader, config, nowMs: nowMs() });
    if (refusedLoader !== undefined) options.onLoaderRefused?.(client, refusedLoader, loader);
    if (decision.step === "boot-file") ladder.progressed(client.mac);
    if (decision.forgetOffer) leases.forgetOffer(client.mac);
    if (decision.lease) {
      leases.apply(decision.lease);
      if (decision.lease.state !== "offered") await options.saveLease(decision.lease);
    }
    for (const one of decision.replies) await send(one);
    log.debug(
      { mac: client.mac, kind: client.kind, step: decision.step, reason: decision.reason },
      "DHCP packet decided",
    );
    const { step, otherServer, noBootFile, problem } = decision;
    if (step !== "ignored" || otherServer || noBootFile || problem) options.onStep?.(client, decision, rung);
  }

  function shownTo(client: Client, isDiscover: boolean): Shown {
    if (client.kind === "ipxe") ladder.started(client.mac);
    if (client.kind !== "pxe" && client.kind !== "http") return { rung: 0 };
    if (!isDiscover) return { rung: 0, loader: ladder.shown(client.mac).loader };
    const shown = ladder.discovered(client.mac, client.firmware, loadersFor(client, config));
    return client.kind === "pxe" ? shown : { ...shown, rung: 0 };
  }

  function send({ packet, from, to }: Reply): Promise<void> {
    const socket = from === 4011 ? bootServer : unicast;
    const port = to.port === 68 ? ports.client : to.port === 67 ? ports.server : to.port;
    return new Promise((resolve) => {
      socket.send(encodePacket(packet), port, to.address, (error) => {
        if (error) log.warn({ err: error, to: to.address, port }, "DHCP reply not sent");
        else counts.replied++;
        resolve();
      });
    });
  }

  const sockets = [broadcastRx, unicast, bootServer];
  for (const socket of sockets) {
    const port = socket === bootServer ? 4011 : 67;
    socket.on("message", (bytes, source) => {
      handle(bytes, source, port).catch((error) => log.error({ err: error }, "DHCP packet not handled"));
    });
    socket.on("error", (error) => log.error({ err: error }, "DHCP socket failed"));
  }
  log.info({ address: config.address, mode: config.mode, ports }, "DHCP server listens");
  return {
    counts,
    ladder,
    async close() {
      await Promise.all(sockets.map(closed));
    },
  };
}

/** Our two sockets share port 67, and so would another program's in silence: `shared: false` finds out whether there is one. */
async function bind(address: string, port: number, what: string, shared = true): Promise<Socket> {
  // Addresses only: Node would ask its resolver before each packet otherwise.
  const lookup = (host: string, _: unknown, done: (error: null, address: string, family: number) => void) =>
    done(null, host, 4);
  const socket = createSocket({ type: "udp4", reuseAddr: shared, recvBufferSize: 4 << 20, lookup: lookup as never });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.bind(port, address, () => {
        socket.off("error", reject);
        resolve();
      });
    });
    return socket;
  } catch (cause) {
    throw await listenFault("udp", address, port, what, cause);
  }
}

function closing(...sockets: Socket[]): (error: unknown) => Promise<never> {
  return async (error) => {
    await Promise.all(sockets.map(closed));
    throw error;
  };
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.close(() => resolve()));
}

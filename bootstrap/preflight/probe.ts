// Asks a LAN, as a client that is not there, which DHCP servers answer: a DISCOVER of an operating system and one of firmware, each
// twice, answers to be broadcast (so that no address is needed). Nothing is taken: offers run out by themselves.
import { randomInt } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import type { DhcpServer } from "#api/dhcp-servers.ts";
import { sleep } from "#lib/time.ts";
import { ascii, MESSAGE, OPTION } from "../dhcp/options.ts";
import { BROADCAST_FLAG, encodePacket, NO_ADDRESS, type Packet, parsePacket } from "../dhcp/packet.ts";
import { kernelNeighbours } from "../identity/neighbours.ts";
import { newProbeCard } from "./card.ts";
import { merged, serverOf } from "./heard.ts";

export interface ProbeOptions {
  interface: string;
  /** Our address there: what is sent leaves by it. */
  address: string;
  signal?: AbortSignal | undefined;
  /** dnsmasq and others look for 3 s whether an address is free before they offer it. */
  listenMs?: number;
}

const LISTEN_MS = 5_000;
const AGAIN_MS = 1_500;
/** To any of its ports: the kernel asks for its card before it sends. */
const DISCARD = 9;

export async function askLan({
  interface: name,
  address,
  signal,
  listenMs = LISTEN_MS,
}: ProbeOptions): Promise<DhcpServer[]> {
  const heard: DhcpServer[] = [];
  const mac = newProbeCard();
  const xids = [randomInt(1, 0xffffffff), randomInt(1, 0xffffffff)] as const;
  const questions = [discover(mac, xids[0], PLAIN), discover(mac, xids[1], FIRMWARE)];
  await using stack = new AsyncDisposableStack();
  const open = async (at: string) => {
    const socket = await bound(at);
    stack.defer(() => new Promise<void>((resolve) => socket.close(() => resolve())));
    return socket;
  };
  const rx = await open("0.0.0.0");
  const tx = await open(address);
  tx.setBroadcast(true);
  const onMessage = (bytes: Buffer, from: { address: string }) => {
    const parsed = parsePacket(bytes);
    if (!parsed.ok || parsed.packet.op !== 2 || !xids.includes(parsed.packet.xid)) return;
    const server = serverOf(parsed.packet, from.address);
    // Our own boot server answers as well: of it there is nothing to be told.
    if (server === undefined || server.address === address) return;
    heard.push(server);
    tx.send(Buffer.alloc(0), DISCARD, server.address, () => undefined);
  };
  for (const socket of [rx, tx]) socket.on("message", onMessage);
  for (let waitedMs = 0; waitedMs < listenMs && !signal?.aborted; waitedMs += AGAIN_MS) {
    if (waitedMs <= AGAIN_MS) for (const question of questions) await sent(tx, question);
    await sleep(Math.min(AGAIN_MS, listenMs - waitedMs), signal);
  }
  const cards = kernelNeighbours(name);
  return merged(heard).map((server) => {
    const card = cards(server.address);
    return card === undefined ? server : { ...server, card };
  });
}

const PLAIN: readonly (readonly [number, Buffer])[] = [];
const FIRMWARE: readonly (readonly [number, Buffer])[] = [
  [OPTION.vendorClass, ascii("PXEClient:Arch:00007:UNDI:003016")],
  [OPTION.clientArch, Buffer.from([0, 7])],
  [OPTION.clientUndi, Buffer.from([1, 3, 16])],
];
const WANTED = [
  OPTION.mask,
  OPTION.router,
  OPTION.dns,
  OPTION.serverId,
  OPTION.vendor,
  OPTION.vendorClass,
  OPTION.tftpServer,
  OPTION.bootfile,
];

function discover(mac: string, xid: number, more: readonly (readonly [number, Buffer])[]): Buffer {
  const chaddr = Buffer.alloc(16);
  Buffer.from(mac.replaceAll(":", ""), "hex").copy(chaddr);
  const packet: Packet = {
    ...{ op: 1, htype: 1, hlen: 6, hops: 0, xid, secs: 0, flags: BROADCAST_FLAG, chaddr, sname: "", file: "" },
    ...{ ciaddr: NO_ADDRESS, yiaddr: NO_ADDRESS, siaddr: NO_ADDRESS, giaddr: NO_ADDRESS },
    options: new Map<number, Buffer>([
      [OPTION.messageType, Buffer.from([MESSAGE.discover])],
      [OPTION.parameterList, Buffer.from(WANTED)],
      [OPTION.maxSize, Buffer.from([1472 >> 8, 1472 & 255])],
      ...more.map(([code, value]) => [code, value] as [number, Buffer]),
    ]),
  };
  return encodePacket(packet);
}

const CLIENT_PORT = 68;
const SERVER_PORT = 67;

async function bound(address: string): Promise<Socket> {
  const socket = createSocket({ type: "udp4", reuseAddr: true });
  const bind = once(socket, "listening");
  socket.bind(CLIENT_PORT, address);
  try {
    await bind;
  } catch (cause) {
    socket.close();
    throw new Error(`UDP ${CLIENT_PORT} cannot be used to ask for DHCP servers: ${(cause as Error).message}`, {
      cause,
    });
  }
  return socket;
}

/** A question that could not be sent is an error: silence would then mean nothing. */
function sent(socket: Socket, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) =>
    socket.send(bytes, SERVER_PORT, "255.255.255.255", (error) => (error ? reject(error) : resolve())),
  );
}

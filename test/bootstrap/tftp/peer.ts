// One UDP socket that speaks raw packets to the server and waits for answers, for tests.
import dgram from "node:dgram";
import { until } from "#lib/time.ts";

export interface Peer {
  port: number;
  received: { packet: Buffer; port: number }[];
  send(packet: Uint8Array | string, port: number): void;
  /** The next packet not yet taken. */
  next(): Promise<{ packet: Buffer; port: number }>;
  close(): Promise<void>;
}

export async function peer(address = "127.0.0.1"): Promise<Peer> {
  const socket = dgram.createSocket("udp4");
  const received: Peer["received"] = [];
  socket.on("message", (packet, from) => received.push({ packet: Buffer.from(packet), port: from.port }));
  await new Promise<void>((resolve) => socket.bind(0, address, resolve));
  let taken = 0;
  return {
    port: socket.address().port,
    received,
    send: (packet, port) =>
      socket.send(typeof packet === "string" ? Buffer.from(packet, "latin1") : packet, port, "127.0.0.1"),
    next: () =>
      until(() => received[taken] && received[taken++], {
        what: "a packet from the server",
        timeoutMs: 30_000,
        everyMs: 2,
      }),
    close: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}

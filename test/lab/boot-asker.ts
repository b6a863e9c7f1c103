// A client of the boot plane inside a lab namespace: `boot-asker.ts JSON` with what to do, prints what came of it as JSON.
// get: HTTP from one of its addresses. relay: a DISCOVER of a card, carried by a relay. flood: DISCOVERs of made-up cards.
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";
import { addressBytes, OPTION } from "../../bootstrap/dhcp/options.ts";
import { bios, bytes } from "../bootstrap/dhcp/packets.ts";

export type Asked =
  | { act: "get"; url: string; from?: string }
  | { act: "relay"; server: string; giaddr: string; mac: string; asks: string }
  | { act: "flood"; count: number };

/** `status` 0: the connection was closed without an answer. */
export interface Answered {
  status: number;
  body: string;
}

const asked = JSON.parse(process.argv[2] ?? "{}") as Asked;
const answered = await act(asked);
console.log(JSON.stringify(answered));

async function act(one: Asked): Promise<Answered> {
  if (one.act === "get") return get(one.url, one.from);
  const relays = one.act === "relay";
  const socket = createSocket("udp4");
  socket.bind(relays ? 67 : 68, relays ? one.giaddr : "0.0.0.0");
  await once(socket, "listening");
  socket.setBroadcast(true);
  if (one.act === "relay") {
    const packet = bios({ mac: one.mac, giaddr: one.giaddr });
    packet.options.set(OPTION.relayAgent, Buffer.concat([Buffer.from([1, 4]), addressBytes(one.giaddr)]));
    packet.options.set(OPTION.requestedAddress, addressBytes(one.asks));
    await send(socket, bytes(packet), one.server);
  } else {
    for (let n = 0; n < one.count; n++) {
      const mac = `52:54:03:${[n >> 16, n >> 8, n].map((byte) => (byte & 255).toString(16).padStart(2, "0")).join(":")}`;
      await send(socket, bytes(bios({ mac, xid: n + 1 })), "255.255.255.255");
    }
  }
  socket.close();
  return { status: 200, body: "" };
}

function send(socket: Socket, packet: Buffer, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.send(packet, 67, address, (error) => (error ? reject(error) : resolve()));
  });
}

async function get(url: string, from: string | undefined): Promise<Answered> {
  const sent = request(url, { timeout: 10_000, agent: false, ...(from === undefined ? {} : { localAddress: from }) });
  sent.on("timeout", () => sent.destroy(new Error("timed out")));
  sent.end();
  try {
    const [reply] = (await once(sent, "response")) as [IncomingMessage];
    return { status: reply.statusCode ?? 0, body: await text(reply) };
  } catch (error) {
    if ((error as { code?: string }).code === "ECONNRESET") return { status: 0, body: "" };
    throw error;
  }
}

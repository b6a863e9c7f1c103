// Wake-on-LAN: six bytes of ones and the card's address sixteen times, as a broadcast on the machines' own network. Nothing answers:
// whether it helped is seen by what the machine does next.
import { createSocket } from "node:dgram";
import { trouble } from "./trouble.ts";

const PORTS = [9, 7];

export function magicPacket(mac: string): Buffer {
  const card = Buffer.from(mac.replaceAll(":", ""), "hex");
  if (card.length !== 6) throw new TypeError(`${mac} is no Ethernet address`);
  return Buffer.concat([Buffer.alloc(6, 0xff), ...Array.from({ length: 16 }, () => card)]);
}

export interface WakeOptions {
  /** Our address on that network, so that it goes out there and nowhere else. */
  from: string;
  broadcast: string;
  ports?: readonly number[];
}

/** Sends one packet for each card to each port. */
export async function wake(macs: readonly string[], { from, broadcast, ports = PORTS }: WakeOptions): Promise<void> {
  const socket = createSocket("udp4");
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.bind({ address: from, port: 0, exclusive: true }, resolve);
    });
    socket.setBroadcast(true);
    for (const mac of macs)
      for (const port of ports)
        await new Promise<void>((resolve, reject) => {
          socket.send(magicPacket(mac), port, broadcast, (error) => (error ? reject(error) : resolve()));
        });
  } catch (cause) {
    throw trouble("bmc-unreachable", `send Wake-on-LAN from ${from} to ${broadcast}`, cause);
  } finally {
    socket.close();
  }
}

// Asks the boot server by DHCP and TFTP, inside a machine's namespace: `gates-asker.ts SERVER ADDRESS[,RELAY]...`, RELAY being
// the one that the asker's DHCP packet names. They ask one after the other and the server reads them in that order, so what the last
// one is answered comes after every answer to those before. Prints who was answered.
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { setImmediate } from "node:timers/promises";
import { run } from "#lib/run.ts";
import { MESSAGE } from "../../bootstrap/dhcp/options.ts";
import { bios, bytes } from "./dhcp/packets.ts";

export interface Answered {
  dhcp: boolean;
  tftp: boolean;
}

run(async (signal) => {
  const [server, ...askers] = process.argv.slice(2) as [string, ...string[]];
  const answered = askers.map((): Answered => ({ dhcp: false, tftp: false }));
  const sockets: Socket[] = [];
  const socketOf = async (address: string, onAnswer: () => void) => {
    const socket = createSocket("udp4", onAnswer);
    sockets.push(socket);
    socket.bind(0, address);
    await once(socket, "listening");
    return (content: Buffer, port: number) =>
      new Promise<void>((resolve, reject) =>
        socket.send(content, port, server, (error) => (error ? reject(error) : resolve())),
      );
  };
  for (const [n, asker] of askers.entries()) {
    const [address, giaddr] = asker.split(",") as [string, string?];
    const packet = bios({ mac: `52:54:00:00:01:0${n}`, xid: n, type: MESSAGE.request, ciaddr: address });
    const dhcp = await socketOf(address, () => {
      answered[n]!.dhcp = true;
    });
    const tftp = await socketOf(address, () => {
      answered[n]!.tftp = true;
    });
    await dhcp(Buffer.alloc(300, 0xff), 4011); // no DHCP packet at all
    await dhcp(bytes({ ...packet, ...(giaddr ? { giaddr } : {}) }), 4011);
    await tftp(Buffer.from("\0\x01no-such-file\0octet\0", "latin1"), 69);
  }
  await Promise.all(sockets.slice(-2).map((socket) => once(socket, "message", { signal })));
  await setImmediate(); // whatever else is here by now is read too
  for (const socket of sockets) socket.close();
  console.log(`answered ${JSON.stringify(answered)}`);
  return 0;
});

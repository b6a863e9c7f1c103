// A port for a program that cannot be asked to listen on 0 and say where. It stays this process's own until it ends: the claim is
// an abstract socket, which the kernel drops with its holder, and the range lies below the ports that the kernel gives to others' connections.
import { randomInt } from "node:crypto";
import dgram from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";

const FIRST = 20_000;
/** Linux gives connections ports from 32768 on (net.ipv4.ip_local_port_range). */
const END = 32_768;

/** A port of 127.0.0.1 that nobody listens on, and that no other test is given while this process lives. */
export async function freePort(protocol: "tcp" | "udp" = "tcp"): Promise<number> {
  for (let tries = 0; tries < 200; tries++) {
    const port = randomInt(FIRST, END);
    if ((await claimed(port)) && (await isFree(protocol, port))) return port;
  }
  throw new Error(`no ${protocol} port between ${FIRST} and ${END} is free`);
}

async function claimed(port: number): Promise<boolean> {
  const claim = createServer((socket) => socket.destroy());
  claim.unref();
  claim.listen(`\0flynn-test-port-${port}`);
  return once(claim, "listening").then(
    () => true,
    () => false,
  );
}

async function isFree(protocol: "tcp" | "udp", port: number): Promise<boolean> {
  const probe = protocol === "tcp" ? createServer() : dgram.createSocket("udp4");
  if (probe instanceof dgram.Socket) probe.bind(port, "127.0.0.1");
  else probe.listen(port, "127.0.0.1");
  const isFree = await once(probe, "listening").then(
    () => true,
    () => false,
  );
  if (isFree) await new Promise<void>((resolve) => probe.close(() => resolve()));
  return isFree;
}

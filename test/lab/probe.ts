// Asks from where it runs, in a container's network for example: `probe.ts JSON` prints, for each target, whether it was reached; with
// `hold ADDRESS PORT` it keeps a connection busy and says when it is cut.
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";

export interface Target {
  name: string;
  protocol: "tcp" | "udp";
  address: string;
  port: number;
  /** Of the sender, where it is not the obvious one. */
  from?: string;
}

const PATIENCE_MS = 1_500;

const [, , ...words] = process.argv;
if (words[0] === "hold") await hold(words[1]!, Number(words[2]));
else {
  const targets = JSON.parse(words[0]!) as Target[];
  const found = await Promise.all(targets.map(async (target) => [target.name, await isReached(target)] as const));
  console.log(JSON.stringify(Object.fromEntries(found)));
}

async function isReached(target: Target): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), PATIENCE_MS);
  const close = target.protocol === "tcp" ? tcp(target, resolve) : udp(target, resolve);
  const reached = await promise;
  clearTimeout(timer);
  close();
  return reached;
}

function tcp({ address, port, from }: Target, done: (reached: boolean) => void): () => void {
  const socket = connect({ host: address, port, localAddress: from });
  socket.on("connect", () => done(true));
  socket.on("error", () => done(false));
  return () => socket.destroy();
}

function udp({ address, port }: Target, done: (reached: boolean) => void): () => void {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  socket.on("message", () => done(true));
  socket.on("error", () => done(false));
  socket.send("hello", port, address, (error) => error && done(false));
  return () => socket.close();
}

/** Its echo comes back within a second as long as it is let through. */
async function hold(address: string, port: number): Promise<void> {
  const socket = connect({ host: address, port });
  let heard = performance.now();
  let ended = false;
  socket.on("data", () => {
    heard = performance.now();
  });
  socket.on("error", () => {
    ended = true;
  });
  socket.on("connect", () => console.log("open"));
  while (!ended && performance.now() - heard < 1_000) {
    socket.write("x");
    await delay(50);
  }
  console.log("cut");
  socket.destroy();
}

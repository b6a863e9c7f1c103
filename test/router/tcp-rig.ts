// TCP connections through a router's rig: jobs that give back what they get, and clients that hold on.
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { RouterTarget } from "#api/router-agents.ts";
import { until } from "#lib/time.ts";
import { target } from "./rig.ts";

export interface Echo {
  name: string;
  port: number;
  sockets: Set<Socket>;
  /** The first bytes of each connection, as they came. */
  first: Buffer[];
  server: Server;
  end(): void;
}
/** Says its name at once, then gives back what it gets; `mute` says nothing before it was spoken to. */
export async function listenEcho(name: string, port = 0): Promise<Echo> {
  const sockets = new Set<Socket>();
  const first: Buffer[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
    socket.once("data", (data: Buffer) => first.push(data));
    socket.on("data", (data: Buffer) => socket.write(`${name}:${data.toString("latin1")}`));
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const end = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { name, port: (server.address() as AddressInfo).port, sockets, first, server, end };
}
type Port = NonNullable<RouterTarget["tcp"]>[number];
export type Job = { port: number; name?: string; state?: "up" | "drain" };
export const db = (generation: number, jobs: Job[], ports: Omit<Port, "poolId">[]): RouterTarget => ({
  ...target(generation, [{ app: "db", routes: [], jobs }]),
  tcp: ports.map((port) => ({ ...port, poolId: "db/web" })),
});

export interface Talk {
  say(text: string): Promise<string>;
  isEnded(): boolean;
  end(): void;
}
export async function dial(port: number): Promise<Talk> {
  const socket = connect({ host: "127.0.0.1", port });
  let got = "";
  let ended = false;
  socket.on("data", (chunk: Buffer) => (got += chunk.toString("latin1")));
  socket.on("error", () => undefined);
  socket.on("close", () => (ended = true));
  await new Promise((resolve) => socket.once("connect", resolve).once("close", resolve));
  return {
    async say(text) {
      got = "";
      socket.write(text);
      await until(() => got.endsWith(text) || ended, { what: `echo of ${text}`, timeoutMs: 3_000, everyMs: 2 });
      return got;
    },
    isEnded: () => ended,
    end: () => socket.destroy(),
  };
}

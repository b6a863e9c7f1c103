// Stands before a real control and answers as a newer one would: every object of every reply has a field more, and states are some that are
// not known yet. Plain HTTP on loopback, so that any client can be pointed at it.
import { createServer, type Server } from "node:http";
import { request } from "node:https";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

export interface NewerControl {
  url: string;
  close(): Promise<void>;
}

export const NEW_STATE = "resting";

/** Objects whose names people choose: a field more would be one of theirs. */
const MAPS = ["env", "tags", "processes", "details"];

export async function newerControl({ url, caPem }: { url: string; caPem: string }): Promise<NewerControl> {
  const server: Server = createServer((asked, answer) => {
    const { host: _, connection: __, ...headers } = asked.headers;
    const passed = request(
      `${url}${asked.url}`,
      { method: asked.method, ca: caPem, headers, agent: false },
      (reply) => {
        text(reply).then((received) => {
          const more = received === "" ? "" : JSON.stringify(withMore(JSON.parse(received)));
          const { "content-length": ___, ...rest } = reply.headers;
          answer.writeHead(reply.statusCode!, { ...rest, "content-length": Buffer.byteLength(more) }).end(more);
        }, answer.destroy.bind(answer));
      },
    );
    passed.on("error", () => answer.destroy());
    asked.pipe(passed);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function withMore(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withMore);
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value).map(([name, part]): [string, unknown] => [
    name,
    MAPS.includes(name) ? part : name === "state" ? NEW_STATE : withMore(part),
  ]);
  return { ...Object.fromEntries(fields), fieldOfANewerControl: { since: "0.9.0" } };
}

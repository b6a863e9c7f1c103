// A control that answers what a test tells it to: HTTPS with the real kind of certificates, JSON and SSE.

import { mkdtemp, rm } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { WebSocketServer } from "ws";
import { type FrameSocket, frameSocket } from "#api/frame-socket.ts";
import { formatEvent } from "#api/stream.ts";
import { HELLO_HEADER } from "#api/version.ts";
import { saveCluster } from "../../cli/clusters/clusters.ts";
import { clustersFile } from "../../cli/clusters/clusters-file.ts";
import { openAuthority } from "../../control/identity/authority.ts";
import { type Invoked, type InvokeOptions, invoke } from "./invoke.ts";

export interface Asked {
  /** `GET /v1/apps/hello` */
  what: string;
  query: Record<string, string>;
  body: Buffer;
  headers: IncomingMessage["headers"];
}

/** A value is the reply's JSON; `items` are sent as SSE, which then ends, breaks (`drop`) or stays open (`hold`); `fault` is an error; `drop` breaks the connection. */
export type Answer =
  | { json: unknown; status?: number; etag?: string }
  /** `ids`: of the items, those that have one. */
  | { items: unknown[]; ids?: (string | undefined)[]; drop?: boolean; hold?: boolean }
  | { fault: string; message: string; status: number }
  | { drop: true };

export interface FakeControl {
  url: string;
  pin: string;
  asked: Asked[];
  /** What it says of itself with each answer; nothing unless set. */
  hello: string | undefined;
  /** The handler of a method and path; the last one given stays. Several answers are given in turn, the last for ever. */
  on(what: string, ...answers: (Answer | ((asked: Asked) => Answer))[]): void;
  /** What the CLI is given to know this control. */
  env: { FLYNN_HOME: string; HOME: string };
  /** What is told each session with a job; without one there are none. */
  session: ((socket: FrameSocket) => void) | undefined;
  /** The CLI with this control as its default cluster. */
  flynn(line: string | string[], options?: InvokeOptions): Promise<Invoked>;
  close(): Promise<void>;
}

const open = new Set<FakeControl>();

/** For test.after.each: a test that failed leaves nothing open. */
export async function closeFakes(): Promise<void> {
  for (const control of open) await control.close();
  open.clear();
}

export async function fakeControl(): Promise<FakeControl> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-cli-"));
  const authority = await openAuthority(join(directory, "ca"));
  const { key, certificate } = await authority.issueControl(["127.0.0.1"]);
  const answers = new Map<string, (Answer | ((asked: Asked) => Answer))[]>();
  const asked: Asked[] = [];

  const handle = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const url = new URL(req.url!, "https://x");
    const what = `${req.method} ${url.pathname}`;
    const one: Asked = {
      what,
      query: Object.fromEntries(url.searchParams),
      body: await buffer(req),
      headers: req.headers,
    };
    asked.push(one);
    if (control.hello !== undefined) res.setHeader(HELLO_HEADER, control.hello);
    const left = answers.get(what) ?? [];
    const next = left.length > 1 ? left.shift() : left[0];
    const answer: Answer =
      typeof next === "function"
        ? next(one)
        : (next ?? { fault: "not-found", message: `${what} is not an endpoint`, status: 404 });
    if ("items" in answer) {
      res.writeHead(200, { "content-type": "text/event-stream" });
      for (const [n, data] of answer.items.entries()) {
        const id = answer.ids?.[n];
        res.write(formatEvent({ event: "item", data, ...(id === undefined ? {} : { id }) }));
      }
      if (answer.drop) setImmediate(() => res.destroy());
      else if (!answer.hold) res.end();
    } else if ("drop" in answer) {
      req.socket.destroy();
    } else if ("fault" in answer) {
      res
        .writeHead(answer.status)
        .end(JSON.stringify({ code: answer.fault, message: answer.message, requestId: "request-1" }));
    } else
      res.writeHead(answer.status ?? 200, answer.etag ? { etag: answer.etag } : {}).end(JSON.stringify(answer.json));
  };
  const server = createServer({ key, cert: `${certificate}\n${authority.caPem}` }, (req, res) => {
    handle(req, res).catch(() => res.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => [...offered][0] ?? false });
  server.on("upgrade", (req, socket, head) => {
    const tell = control.session;
    if (tell === undefined) socket.destroy();
    else sockets.handleUpgrade(req, socket, head, (opened) => tell(frameSocket(opened)));
  });
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const env = { FLYNN_HOME: join(directory, "home"), HOME: directory };
  await saveCluster(clustersFile(env), {
    name: "fake",
    url,
    pin: authority.pin,
    caPem: authority.caPem,
    token: "secret-token",
  });

  const control: FakeControl = {
    url,
    pin: authority.pin,
    asked,
    env,
    session: undefined,
    hello: undefined,
    on: (what, ...given) => void answers.set(what, given),
    flynn: (line, options = {}) =>
      invoke(typeof line === "string" ? line.split(" ").filter(Boolean) : line, {
        cwd: directory,
        ...options,
        env: { ...env, ...options.env },
      }),
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true, force: true });
    },
  };
  open.add(control);
  return control;
}

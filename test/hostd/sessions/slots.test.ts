// How many sessions a host carries at once, and that each gives its place back however it ends; over loopback WebSockets.
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import WebSocket, { WebSocketServer } from "ws";
import { execJob, forwardJob } from "#api/attach.ts";
import { isFault } from "#api/fault.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import type { SessionContext } from "../../../hostd/sessions/carry.ts";
import { type Sessions, sessions } from "../../../hostd/sessions/sessions.ts";

/** As many as a host carries at once. */
const MOST = 256;
const urlOf = ({ path }: { path: string }) => new URL(`https://host${path.replace(":id", "j1")}`);
// Ends by itself: it names no port.
const short = urlOf(forwardJob);
// Lasts until its client says what to run, or goes.
const long = urlOf(execJob);

interface Opened {
  client: WebSocket;
  over: Promise<void>;
}

async function withSessions(
  body: (all: Sessions, open: (url: URL) => Promise<Opened>) => Promise<void>,
): Promise<void> {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
  await once(server, "listening");
  const all = sessions({ log: silentLog() } as SessionContext);
  const clients: WebSocket[] = [];
  const open = async (url: URL): Promise<Opened> => {
    const serve = all.open(url);
    const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
    clients.push(client);
    const [[socket]] = (await Promise.all([once(server, "connection"), once(client, "open")])) as [
      [WebSocket],
      unknown,
    ];
    return { client, over: serve(socket) };
  };
  try {
    await body(all, open);
  } finally {
    for (const client of clients) client.terminate();
    await new Promise((resolve) => server.close(resolve));
  }
}

const refusal = (all: Sessions): unknown => {
  try {
    all.open(long);
    return undefined;
  } catch (error) {
    return error;
  }
};

test("a host that has carried more sessions than it may at once still takes the next", () =>
  withSessions(async (all, open) => {
    for (let n = 0; n <= MOST; n++) await (await open(short)).over;
    assert.is(all.count, 0, "no session is under way");
    assert.is(refusal(all), undefined);
  }));

test("a full host says so to the next client, and takes one again when any of the others has gone", () =>
  withSessions(async (all, open) => {
    const opened: Opened[] = [];
    while (opened.length < MOST) opened.push(await open(long));
    assert.is(all.count, MOST);
    assert.ok(isFault(refusal(all), "rate-limited"), String(refusal(all)));
    opened[7]!.client.terminate();
    await until(() => refusal(all) === undefined, { what: "a place", timeoutMs: 10_000, everyMs: 5 });
    for (const { client } of opened) client.terminate();
    await Promise.all(opened.map(({ over }) => over));
    assert.is(all.count, 0, "each gave its place back");
  }));

test.run();

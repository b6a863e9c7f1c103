import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createClient, hostServerName } from "#api/client.ts";
import { isFault } from "#api/fault.ts";
import { hostLog, type LogLine } from "#api/logs.ts";
import { silentLog } from "#lib/log.ts";
import { logRoute } from "../../../hostd/logs/route.ts";
import { logStore } from "../../../hostd/logs/store.ts";
import { startHostServer } from "../../../hostd/server.ts";
import { testCa } from "../fake-control.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-logserver-"));
const ca = await testCa();
const store = logStore({ directory, onError: (error) => assert.unreachable(String(error)) });
const identity = await ca.issue({ subject: "O=flynn:host,CN=host-1", names: [hostServerName("host-1")] });
const server = await startHostServer({
  routes: [logRoute({ store, keepAliveMs: 50 })],
  identity: { ...identity, caPem: ca.caPem },
  host: "127.0.0.1",
  port: 0,
  log: silentLog(),
});
const urls = [`https://127.0.0.1:${server.port}`];
const serverName = hostServerName("host-1");
const clientOf = async (subject: string) =>
  createClient({ urls, caPem: ca.caPem, serverName, identity: await ca.issue({ subject, names: ["client"] }) });
const control = await clientOf("O=flynn:control,CN=control");

test.after(async () => {
  control.close();
  await server.close();
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

const kept = (n: number, fields: Partial<LogLine> = {}) => ({
  at: `2026-01-01T00:00:0${n}.000000Z`,
  app: "hello",
  process: "web",
  jobId: "j1",
  stream: "stdout" as const,
  source: "app" as const,
  line: `line ${n}`,
  container: "secret-id",
  ...fields,
});
const hello = await store.open("hello");
hello.append([kept(1), kept(2, { jobId: "j2", process: "worker" }), kept(4, { source: "system" }), kept(3)]);
const texts = (items: readonly LogLine[]) => items.map(({ line }) => line);

test("control reads lines in time order, without what is hostd's own", async () => {
  const { items } = await control.call(hostLog, { query: { app: "hello" } });
  assert.equal(texts(items), ["line 1", "line 2", "line 3", "line 4"]);
  assert.not.ok("container" in items[0]!);
});

for (const [claim, query, expected] of [
  ["newest lines", { lines: 2 }, ["line 4", "line 3"]],
  ["one job", { jobId: "j2" }, ["line 2"]],
  ["one process", { process: "worker" }, ["line 2"]],
  ["one source", { source: "system" as const }, ["line 4"]],
  ["a time span", { since: "2026-01-01T00:00:02Z", until: "2026-01-01T00:00:03Z" }, ["line 2", "line 3"]],
  ["no lines", { lines: 0 }, []],
] as const)
  test(`a query may ask for ${claim}`, async () => {
    const { items } = await control.call(hostLog, { query: { app: "hello", ...query } });
    assert.equal(texts(items).toSorted(), [...expected].toSorted());
  });

test("an app without a log is an empty list, and asking makes no directory", async () => {
  assert.equal((await control.call(hostLog, { query: { app: "nobody" } })).items, []);
  assert.is(await store.find("nobody"), undefined);
});

test("following gives the past, `current`, then each new line of the query", async () => {
  const stop = new AbortController();
  const events: string[] = [];
  for await (const { event, data } of control.stream(hostLog, {
    query: { app: "hello", follow: true, lines: 1, jobId: "j1" },
    signal: stop.signal,
  })) {
    events.push(event === "item" ? (data as LogLine).line : event);
    if (event === "current") hello.append([kept(5, { jobId: "other" }), kept(6), kept(7)]);
    if (events.at(-1) === "line 7") stop.abort();
  }
  assert.equal(events, ["line 3", "current", "line 6", "line 7"]);
});

test("a stream that broke goes on with Last-Event-ID, without loss or repeat, with many lines in one instant", async () => {
  const busy = await store.open("busy");
  const lines = Array.from({ length: 12 }, (_, n) => kept(Math.floor(n / 4), { app: "busy", line: `line ${n}` }));
  busy.append(lines);
  const read: string[] = [];
  let lastEventId: string | undefined;
  while (read.length < lines.length) {
    const stop = new AbortController();
    const input = { query: { app: "busy", follow: true }, signal: stop.signal, lastEventId };
    for await (const { event, id, data } of control.stream(hostLog, input)) {
      assert.is(event, "item", "there is a line left to read");
      lastEventId = id;
      read.push((data as LogLine).line);
      break; // one line per connection
    }
    stop.abort();
  }
  assert.equal(
    read,
    lines.map(({ line }) => line),
  );
});

test("a stream that does not follow ends after `current`", async () => {
  const events: string[] = [];
  for await (const { event } of control.stream(hostLog, { query: { app: "hello", lines: 1 } })) events.push(event);
  assert.equal(events, ["item", "current"]);
});

test("a member of the cluster that is not control is refused", async () => {
  for (const subject of ["O=flynn:host,CN=host-2", "CN=flynn:control", "O=flynn:control,O=flynn:host,CN=x"]) {
    const other = await clientOf(subject);
    const error = await other.call(hostLog, { query: { app: "hello" } }).catch((caught: unknown) => caught);
    assert.ok(isFault(error, "forbidden"), subject);
    other.close();
  }
});

test("a client without a certificate, or of another CA, gets no connection", async () => {
  const stranger = await testCa();
  const theirs = await stranger.issue({ subject: "O=flynn:control,CN=control", names: ["client"] });
  for (const presented of [undefined, theirs]) {
    const client = createClient({ urls, caPem: ca.caPem, serverName, identity: presented, timeoutMs: 5_000 });
    const error = await client.call(hostLog, { query: { app: "hello" } }).catch((caught: unknown) => caught);
    assert.ok(isFault(error, "unavailable"));
    client.close();
  }
});

test("an unknown path is not found, a wrong query is invalid", async () => {
  const missing = await control
    .call({ ...hostLog, path: "/etc/passwd" }, { query: { app: "hello" } })
    .catch((e: unknown) => e);
  assert.ok(isFault(missing, "not-found"));
  for (const query of [{ app: "../../etc" }, { app: "hello", lines: 99_999 }, { lines: -1 }]) {
    const error = await control.call(hostLog, { query: query as never }).catch((caught: unknown) => caught);
    assert.ok(isFault(error, "invalid"), JSON.stringify(query));
  }
});

test.run();

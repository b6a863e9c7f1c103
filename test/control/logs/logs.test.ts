import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp, deleteApp } from "#api/apps.ts";
import { isFault } from "#api/fault.ts";
import { appLog, type LogLine, routerLog } from "#api/logs.ts";
import type { StreamEvent } from "#api/stream.ts";
import { newId } from "#lib/ids.ts";
import { microsecondsNow, until } from "#lib/time.ts";
import { findApp } from "../../../control/apps/find.ts";
import { keys } from "../../../control/keys.ts";
import { formatPlace, parsePlace } from "../../../control/logs/place.ts";
import type { AppRef } from "../../../control/logs/whose.ts";
import { type Rig, rig } from "../rig.ts";
import { at, type LogRig, logRig } from "./rig.ts";

let control: Rig;
let logs: LogRig;
const open = new Set<() => Promise<void>>();
test.before(async () => {
  control = await rig({ loops: false });
  logs = await logRig(control, ["h1", "h2", "h3"]);
});
test.after(async () => {
  // Those of a test that failed too: a stream that is read keeps the file from ending.
  for (const stop of open) await stop();
  await logs.close();
  await control.close();
});

/** An app of which nothing was said yet. */
async function newApp(name: string): Promise<AppRef> {
  const app = { id: newId("app"), name };
  const mutations = [
    { key: keys.app(app.id), value: app },
    { key: keys.appName(name), value: app.id },
  ];
  await control.control.context.store.commit({ actor: "test", mutations });
  return app;
}
const texts = (items: readonly LogLine[]) => items.map(({ line }) => line);

/** Collects a stream until it has been told to stop. */
function collect(stream: (signal: AbortSignal) => AsyncIterable<StreamEvent<LogLine>>) {
  const stop = new AbortController();
  const lines: string[] = [];
  const it = { lines, lastEventId: undefined as string | undefined, currents: [] as unknown[], stop: async () => {} };
  const running = (async () => {
    for await (const { event, id, data } of stream(stop.signal)) {
      if (event === "item" && data) lines.push(data.line);
      if (event === "current") it.currents.push(data);
      it.lastEventId = id ?? it.lastEventId;
    }
  })();
  it.stop = async () => {
    open.delete(it.stop);
    stop.abort();
    await running;
  };
  open.add(it.stop);
  return it;
}

test("lines of all hosts and of control come merged in time order, the newest when limited", async () => {
  const merged = await newApp("merged");
  const [h1, h2, h3] = logs.hosts;
  await h1!.say(merged, 10, "one");
  await h2!.say(merged, 20, "two");
  await h3!.say(merged, 40, "four");
  control.control.context.ownLog.write({
    app: merged.name,
    appId: merged.id,
    source: "deploy",
    at: at(30),
    line: "three",
  });
  const read = async (wish = {}) => texts((await logs.logs.tail(merged, wish)).items);
  await until(async () => (await read()).length === 4, { what: "four lines", timeoutMs: 60_000 });
  assert.equal(await read(), ["one", "two", "three", "four"]);
  assert.equal(await read({ lines: 2 }), ["three", "four"]);
  assert.equal(await read({ lines: 0 }), []);
  assert.equal(await read({ source: "deploy" }), ["three"]);
  assert.equal(await read({ source: "app" }), ["one", "two", "four"]);
  assert.equal(await read({ jobId: "h2-1" }), ["two"]);
  assert.equal(await read({ since: at(20), until: at(30) }), ["two", "three"]);
});

test("a host that does not answer is named, and the others' lines come all the same", async () => {
  const partly = await newApp("partly");
  const [h1, h2] = logs.hosts;
  await h1!.say(partly, 1, "here");
  await h2!.down();
  try {
    const { items, silent } = await logs.logs.tail(partly, {});
    assert.equal(texts(items), ["here"]);
    assert.equal(silent, ["h2"]);
    const seen = collect((signal) => logs.logs.follow(partly, {}, signal));
    await until(() => seen.currents.length > 0, { what: "current", timeoutMs: 60_000 });
    assert.equal(seen.currents, [{ silent: ["h2"] }]);
    await seen.stop();
  } finally {
    await h2!.up();
  }
});

test("what follows comes from every host, each line once and in the order in which its host kept it", async () => {
  const live = await newApp("live");
  const [h1, h2] = logs.hosts;
  const seen = collect((signal) => logs.logs.follow(live, {}, signal));
  await until(() => seen.currents.length === 1, { what: "current", timeoutMs: 60_000 });
  for (let n = 0; n < 40; n += 2) {
    await h1!.say(live, n + 1, `line ${n + 1}`);
    await h2!.say(live, n, `line ${n}`);
  }
  await until(() => seen.lines.length === 40, { what: "40 lines", timeoutMs: 60_000 });
  await seen.stop();
  // Across hosts the order is kept as far as lines come close together: follow.test.ts.
  const ofHost = (n: number) => seen.lines.map((line) => Number(line.slice(5))).filter((each) => each % 2 === n);
  const even = Array.from({ length: 20 }, (_, n) => 2 * n);
  assert.equal([ofHost(0), ofHost(1)], [even, even.map((n) => n + 1)]);
});

test("a reader who comes back with the last id gets exactly what he missed, of old and of new lines", async () => {
  const resumed = await newApp("resumed");
  const [h1, h2, h3] = logs.hosts;
  let written = 0;
  const write = async (count: number) => {
    // Three lines to an instant, and h3 always earlier than what was already sent.
    for (const end = written + count; written < end; written++) {
      const host = [h1, h2, h3][written % 3]!;
      await host.say(resumed, host === h3 ? 5 : 100 + Math.floor(written / 3), `line ${written}`);
    }
  };
  await write(9);
  const read: string[] = [];
  let lastEventId: string | undefined;
  for (let round = 0; round < 4; round++) {
    const seen = collect((signal) => logs.logs.follow(resumed, {}, signal, lastEventId));
    await write(6);
    await until(() => read.length + seen.lines.length >= written, { what: `${written} lines`, timeoutMs: 60_000 });
    await seen.stop();
    read.push(...seen.lines);
    lastEventId = seen.lastEventId;
    await write(5);
  }
  assert.equal(read.length, new Set(read).size, "nothing twice");
  assert.is(new Set(read).size, written - 5);
});

test("a reader who was away for more lines than are given again is told that some are missing", async () => {
  const [h1] = logs.hosts;
  const app = await newApp("missed");
  await h1!.say(app, 1, "before");
  const first = collect((signal) => logs.logs.follow(app, {}, signal));
  await until(() => first.lines.length === 1, { what: "a line", timeoutMs: 60_000 });
  await until(() => first.lastEventId?.includes("="), { what: "a place", timeoutMs: 60_000 });
  await first.stop();
  const about = {
    app: app.name,
    appId: app.id,
    process: "web",
    jobId: "h1-1",
    stream: "stdout",
    source: "app",
  } as const;
  const lines = Array.from({ length: 20_100 }, (_, n) => ({ ...about, at: at(100 + n), line: `line ${n}` }));
  (await h1!.store.open(app.id)).append(lines);
  const again = collect((signal) => logs.logs.follow(app, {}, signal, first.lastEventId));
  await until(() => again.lines.at(-1) === "line 20099", { what: "the newest", timeoutMs: 60_000 });
  await again.stop();
  assert.is(again.lines.filter((line) => /^\.\.\. lines dropped: more than 20000/.test(line)).length, 1);
});

test("thirty followers and a reader that takes nothing share one connection to each host, and all get each line", async () => {
  const shared = await newApp("shared");
  const [h1] = logs.hosts;
  const before = h1!.connections();
  const stalled = logs.logs.follow(shared, {}, AbortSignal.timeout(60_000));
  await stalled.next();
  const seen = Array.from({ length: 30 }, () => collect((signal) => logs.logs.follow(shared, {}, signal)));
  await until(() => seen.every(({ currents }) => currents.length === 1), { what: "current", timeoutMs: 60_000 });
  for (let n = 0; n < 100; n++) await h1!.say(shared, n, `${n} ${"x".repeat(8_000)}`);
  await until(() => seen.every(({ lines }) => lines.length === 100), { what: "lines of all", timeoutMs: 60_000 });
  assert.ok(h1!.connections() <= before + 1, `${before} connections have become ${h1!.connections()}`);
  await Promise.all(seen.map((each) => each.stop()));
  await stalled.return(undefined);
});

test("a host's stream that breaks goes on without loss or repeat", async () => {
  const broken = await newApp("broken");
  const [h1] = logs.hosts;
  const seen = collect((signal) => logs.logs.follow(broken, {}, signal));
  await until(() => seen.currents.length === 1, { what: "current", timeoutMs: 60_000 });
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 10; n++) await h1!.say(broken, round * 10 + n, `line ${round * 10 + n}`);
    await h1!.down();
    await h1!.say(broken, round * 10 + 9, `away ${round}`);
    await h1!.up();
  }
  await until(() => seen.lines.length >= 33, { what: "33 lines", timeoutMs: 15_000 });
  await seen.stop();
  assert.is(new Set(seen.lines).size, 33);
  assert.is(seen.lines.length, 33);
});

test("a host that was silent when a stream began tells what it wrote since, and nothing older", async () => {
  const late = await newApp("late");
  const [, h2] = logs.hosts;
  await h2!.say(late, 1, "old");
  await h2!.down();
  const seen = collect((signal) => logs.logs.follow(late, { since: at(0) }, signal));
  await until(() => seen.currents.length === 1, { what: "current", timeoutMs: 60_000 });
  await h2!.say(late, Date.now() + 60_000 - Date.parse("2026-01-01T00:00:00Z"), "new");
  await h2!.up();
  await until(() => seen.lines.length > 0, { what: "a line", timeoutMs: 15_000 });
  await seen.stop();
  assert.equal(seen.lines, ["new"]);
});

test("all apps' lines can be followed as one, for drains", async () => {
  const [left, right] = [await newApp("left"), await newApp("right")];
  const seen = collect((signal) => logs.logs.follow(undefined, { lines: 0 }, signal));
  await until(() => seen.currents.length === 1, { what: "current", timeoutMs: 60_000 });
  await logs.hosts[0]!.say(left, 1, "of left");
  await logs.hosts[1]!.say(right, 2, "of right");
  control.control.context.ownLog.write({ app: right.name, appId: right.id, source: "router", line: "of a router" });
  await until(() => seen.lines.length === 3, { what: "three lines", timeoutMs: 60_000 });
  await seen.stop();
  assert.equal(seen.lines.toSorted(), ["of a router", "of left", "of right"]);
});

test("over the API an app's log has what the deployer did, with names of variables and never their values", async () => {
  const { admin } = control;
  await admin.call(createApp, { body: { name: "spoken" } });
  const read = async () => (await admin.call(appLog, { params: { app: "spoken" }, query: {} })).items;
  await until(async () => (await read()).length > 0, { what: "a line", timeoutMs: 60_000 });
  const items = await read();
  assert.is(items[0]!.source, "deploy");
  assert.match(items[0]!.line, /created/i);
});

test("a router's lines are the app's; a batch that comes twice is there once, an app that is not there gets no log", async () => {
  const { admin } = control;
  await admin.call(createApp, { body: { name: "served" } });
  const router = await control.join("router");
  const line = 'at=info method=GET path="/" job=web.job-1 status=200';
  const lines = ["served", "nobody"].map((app) => ({
    at: new Date().toISOString(),
    app,
    process: "web",
    jobId: "job-1",
    line,
  }));
  const batch = { session: "s1", seq: 1, lines, dropped: { served: 7 } };
  const send = (body: typeof batch) => router.client.call(routerLog, { params: { id: router.id }, body });
  await send(batch);
  await send(batch);
  const read = async () => (await admin.call(appLog, { params: { app: "served" }, query: { source: "router" } })).items;
  await until(async () => (await read()).length >= 2, { what: "the lines", timeoutMs: 60_000 });
  assert.equal((await read()).map((item) => item.line).sort(), [
    `... 7 lines of requests dropped by router ${router.id}`,
    line,
  ]);
  assert.equal(await control.control.context.ownLog.tail({ app: "nobody", appId: "nobody" }), []);
  const other = await control.join("router", { name: "r2" });
  const params = { id: router.id };
  const error = await other.client.call(routerLog, { params, body: batch }).catch((caught: unknown) => caught);
  assert.ok(isFault(error, "forbidden"), "a router speaks for itself alone");
});

/** What one reads who asks for the app of this name; the API itself asks hosts at the port of real ones. */
const readNow = async (name: string) =>
  texts((await logs.logs.tail(findApp(control.control.context.store, name).value, {})).items);
/** Milliseconds of now, as `say` counts them. */
const nowMs = () => Date.now() - Date.parse(at(0));

test("an app made anew under an old name reads no line of the one before, however young they are", async () => {
  const { admin } = control;
  const { ownLog } = control.control.context;
  const [h1] = logs.hosts;
  const before = await admin.call(createApp, { body: { name: "reborn" } });
  const read = () => readNow("reborn");
  ownLog.write({ app: "reborn", appId: before.id, source: "router", line: "GET /?token=old" });
  await h1!.say(before, nowMs(), "secret of old");
  await until(async () => (await read()).filter((line) => line.includes("old")).length === 2, {
    what: "the lines of the first",
    timeoutMs: 60_000,
  });
  const following = collect((signal) => logs.logs.follow(before, {}, signal));
  await until(() => following.lines.length >= 2, { what: "its lines, followed", timeoutMs: 60_000 });
  await admin.call(deleteApp, { params: { app: "reborn" } });
  const app = await admin.call(createApp, { body: { name: "reborn" } });
  const anew = collect((signal) => logs.logs.follow(app, {}, signal));
  const all = collect((signal) => logs.logs.follow(undefined, { lines: 0 }, signal));
  for (const { currents } of [anew, all])
    await until(() => currents.length === 1, { what: "current", timeoutMs: 60_000 });
  // Its jobs are still ending while the new one runs already.
  await h1!.say(before, nowMs(), "last words of old");
  ownLog.write({ app: "reborn", appId: before.id, source: "system", line: "State of old" });
  await h1!.say(app, nowMs(), "first words of new");
  ownLog.write({ app: "reborn", appId: app.id, source: "router", at: microsecondsNow(), line: "GET / of new" });
  for (const { lines } of [anew, all])
    await until(() => lines.filter((line) => line.endsWith("of new")).length === 2, {
      what: "both lines of the new one",
      timeoutMs: 60_000,
    });
  for (const each of [following, anew, all]) await each.stop();
  for (const lines of [anew.lines, all.lines, await read()]) assert.not.match(lines.join("\n"), /of old|token=old/);
  assert.not.ok(
    following.lines.some((line) => /last words|State of old/.test(line)),
    "nobody is told of a deleted app",
  );
});

test("lines of a host or a router that keeps no ids are an app's when their job or their time says so", async () => {
  const { admin } = control;
  const [h1] = logs.hosts;
  const app = await admin.call(createApp, { body: { name: "aged" } });
  const job = (id: string) => ({ key: keys.job(app.id, id), value: { id, appId: app.id, app: "aged", state: "up" } });
  await control.control.context.store.commit({ actor: "test", mutations: [job("job-of-it")] });
  const kept = { at: at(nowMs()), app: "aged", process: "web", stream: "stdout", source: "app" } as const;
  const log = await h1!.store.open("aged");
  log.append([
    { ...kept, jobId: "job-of-it", line: "ours" },
    { ...kept, jobId: "job-gone", line: "of another" },
  ]);
  const router = await control.join("router", { name: "r3" });
  const send = (seq: number, ms: number, line: string) => {
    const lines = [{ at: new Date(Date.parse(app.createdAt) + ms).toISOString(), app: "aged", line }];
    return router.client.call(routerLog, {
      params: { id: router.id },
      body: { session: "s", seq, lines, dropped: {} },
    });
  };
  await send(1, -1, "GET of another");
  await send(2, 1_000, "GET of ours");
  const read = () => readNow("aged");
  await until(async () => (await read()).includes("GET of ours"), { what: "the router's line", timeoutMs: 60_000 });
  assert.ok((await read()).includes("ours"));
  assert.not.match((await read()).join("\n"), /of another/);
});

test("a place survives its text; text that is none is none", () => {
  const id = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/);
  fc.assert(
    fc.property(fc.array(fc.tuple(id, fc.nat(Number.MAX_SAFE_INTEGER))), (pairs) => {
      const place = { since: at(5), numbers: new Map(pairs) };
      assert.equal(parsePlace(formatPlace(place)), place);
    }),
  );
  fc.assert(fc.property(fc.string(), (text) => void parsePlace(text)));
  for (const text of [undefined, "", "x", `${at(1)};h=x`, `${at(1)};=1`, `${at(1)};a b=1`])
    assert.is(parsePlace(text), undefined);
});

test.run();

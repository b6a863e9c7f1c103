// time limit: 180 s
// HAProxy's older workers under many reloads, with the real one: how many there are, what they keep, and when they end.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RouterTarget } from "#api/router-agents.ts";
import { every, until } from "#lib/time.ts";
import { OLD_WORKERS_MOST, PACE, RELOADS_SURVIVED } from "../../router/reload.ts";
import { ask } from "../../router/runtime.ts";
import { freePort } from "../lib/free-port.ts";
import { type Rig, type RigOptions, startRig, target } from "./rig.ts";
import { db, dial, type Echo, listenEcho, type Talk } from "./tcp-rig.ts";

/** As fast as HAProxy can; who gives way to whom is as it is. */
const FAST = { ...PACE, everyMs: 0, sparingMs: { all: 0, ports: 0 } };

let a: Echo;
const rigs: Rig[] = [];
const counts: { stop(): Promise<void> }[] = [];
const newRig = async (options: RigOptions = {}) => {
  const made = await startRig({ verifyEveryMs: 200, pace: FAST, ...options });
  rigs.push(made);
  return made;
};
test.before.each(async () => {
  a = await listenEcho("a");
});
test.after.each(async () => {
  for (const counted of counts.splice(0)) await counted.stop();
  for (const rig of rigs.splice(0)) await rig.end();
  a.end();
});

/** Looks all the while how many older workers there are. */
function countWorkers(rig: Rig): { most: number; stop(): Promise<void> } {
  const controller = new AbortController();
  const counted = { most: 0, stop: async () => {} };
  const loop = (async () => {
    for await (const _ of every(10, controller.signal)) {
      // While the master starts over it does not answer.
      const found = await rig.haproxy.processes().catch(() => undefined);
      counted.most = Math.max(counted.most, found?.old.length ?? 0);
    }
  })();
  counted.stop = async () => {
    controller.abort();
    await loop;
  };
  counts.push(counted);
  return counted;
}

const reloadsOf = (rig: Rig) => rig.converger.state().reloads;
const hasReloaded = (rig: Rig, count: number) =>
  until(() => reloadsOf(rig) === count, { what: `reload ${count}`, timeoutMs: 20_000, everyMs: 5 });
const alive = async (talks: readonly Talk[], word: string) => {
  for (const talk of talks) assert.is(await talk.say(word), `a:${word}`);
};

test("reloads wait rather than end a connection: eight older workers and no more, until one of them is done", async () => {
  const rig = await newRig();
  const port = await freePort();
  const ports = [{ port }];
  await rig.serve(db(1, [a], ports));
  const before = reloadsOf(rig);
  const counted = countWorkers(rig);
  const held: Talk[] = [];
  for (let n = 1; n <= OLD_WORKERS_MOST; n++) {
    const talk = await dial(port);
    assert.is(await talk.say("x"), "a:x");
    held.push(talk);
    ports.push({ port: await freePort() });
    await rig.serve(db(1 + n, [a], ports));
    await hasReloaded(rig, before + n);
  }
  const last = await dial(port);
  assert.is(await last.say("x"), "a:x");
  // Four more changes that only a reload brings: they wait, are said to, and are one reload in the end.
  for (let n = 1; n <= 4; n++) {
    ports.push({ port: await freePort() });
    await rig.serve(db(20 + n, [a], ports));
  }
  assert.is(reloadsOf(rig), before + OLD_WORKERS_MOST);
  const why = rig.converger.state().refused.map((refused) => refused.why);
  assert.is(why.length, 4);
  assert.match(why[0]!, /^it opens within 24 hours: 8 earlier reloads still have open connections/);
  await alive([...held, last], "y");
  held.splice(3, 1)[0]!.end();
  await hasReloaded(rig, before + OLD_WORKERS_MOST + 1);
  await until(() => rig.converger.state().refused.length === 0, { what: "the ports", timeoutMs: 20_000 });
  assert.is(await (await dial(ports.at(-1)!.port)).say("z"), "a:z");
  await alive([...held, last], "z");
  await counted.stop();
  assert.ok(counted.most <= OLD_WORKERS_MOST, `${counted.most} older workers at once`);
});

/** A port, and a web app with so many jobs: more than there are slots is a reload that everything waits for. */
const withWeb = (generation: number, port: number, jobs: number): RouterTarget => {
  const web = Array.from({ length: jobs }, (_, n) => ({ port: a.port, name: `web-${n}` }));
  const base = target(generation, [{ app: "hello", routes: ["a.test"], jobs: web }]);
  const tcp = db(generation, [a], [{ port }]);
  return { ...tcp, pools: [...base.pools, ...tcp.pools], routes: base.routes };
};

/** As many older workers as there may be, each with a connection. */
async function fill(rig: Rig, port: number): Promise<Talk[]> {
  const held: Talk[] = [];
  for (let n = 0; n < OLD_WORKERS_MOST; n++) {
    const talk = await dial(port);
    assert.is(await talk.say("x"), "a:x");
    held.push(talk);
    await rig.haproxy.reload(rig.haproxy.loadedShape()!);
  }
  const last = await dial(port);
  assert.is(await last.say("x"), "a:x");
  return [...held, last];
}

test("what everything waits for waits too, says so, and is served as soon as an older worker is done", async () => {
  const rig = await newRig({ slots: 2 });
  const port = await freePort();
  await rig.serve(withWeb(1, port, 1));
  const held = await fill(rig, port);
  const before = reloadsOf(rig);
  assert.ok(rig.converger.accept(withWeb(2, port, 3)));
  const isSaid = () => /^what is new is served within 10 minutes: 8 earlier/.test(rig.converger.state().reason);
  await until(isSaid, { what: "a word of it", timeoutMs: 20_000 });
  assert.is(rig.converger.state().generation, 1);
  assert.is(reloadsOf(rig), before);
  await alive(held, "y");
  held.splice(5, 1)[0]!.end();
  await until(() => rig.converger.state().generation === 2, { what: "generation 2", timeoutMs: 20_000 });
  assert.is(rig.converger.state().reason, "");
  await alive(held, "z");
});

test("once the oldest had its time, it ends for what everything waits for, and no other does", async () => {
  const rig = await newRig({ slots: 2, pace: { ...FAST, yieldsMs: { ...PACE.yieldsMs, all: 0 } } });
  const port = await freePort();
  await rig.serve(withWeb(1, port, 1));
  const held = await fill(rig, port);
  const counted = countWorkers(rig);
  await rig.serve(withWeb(2, port, 3));
  await until(() => held[0]!.isEnded(), { what: "end of the oldest", timeoutMs: 20_000 });
  await alive(held.slice(1), "y");
  const areFew = async () => (await rig.haproxy.processes()).old.length === OLD_WORKERS_MOST;
  await until(areFew, { what: "eight older workers", timeoutMs: 20_000 });
  await counted.stop();
  // One more while the newest of them might have had no more than an answer to give.
  assert.ok(counted.most <= OLD_WORKERS_MOST + 1, `${counted.most} older workers at once`);
});

test("one connection outlives many reloads; where HAProxy's master would end it, reloads wait", async () => {
  const rig = await newRig();
  const [port, other] = [await freePort(), await freePort()];
  const served = (n: number) => rig.serve(db(n, [a], [{ port }, { port: other, proxyProtocol: n % 2 ? "v1" : "v2" }]));
  await served(1);
  const before = reloadsOf(rig);
  const held = await dial(port);
  const counted = countWorkers(rig);
  for (let n = 1; n <= RELOADS_SURVIVED; n++) {
    await served(1 + n);
    await hasReloaded(rig, before + n);
    await alive([held], `${n}`);
  }
  await served(2 + RELOADS_SURVIVED);
  assert.match(rig.converger.state().reason, /^TCP ports change within 24 hours: 1 earlier reload still has open conn/);
  assert.ok(rig.converger.state().healthy, "all else is served");
  assert.is(reloadsOf(rig), before + RELOADS_SURVIVED);
  await alive([held], "still");
  held.end();
  await hasReloaded(rig, before + RELOADS_SURVIVED + 1);
  await counted.stop();
  assert.ok(counted.most <= OLD_WORKERS_MOST, `${counted.most} older workers at once`);
});

test("an older worker ends within its time, whatever it still has", async () => {
  const rig = await newRig({ timeouts: { oldWorkerMs: 1_000 } });
  const port = await freePort();
  await rig.serve(db(1, [a], [{ port }]));
  const held = await dial(port);
  assert.is(await held.say("x"), "a:x");
  await rig.haproxy.reload(rig.haproxy.loadedShape()!);
  await until(() => held.isEnded(), { what: "end of the connection", timeoutMs: 30_000 });
  const noneIsLeft = async () => (await rig.haproxy.processes()).old.length === 0;
  await until(noneIsLeft, { what: "end of the worker", timeoutMs: 30_000 });
});

test("whoever else reloads HAProxy: its master keeps the older workers in number", async () => {
  const rig = await newRig();
  const port = await freePort();
  await rig.serve(db(1, [a], [{ port }]));
  await rig.abandon();
  const held: Talk[] = [];
  for (let n = 0; n < RELOADS_SURVIVED + 2; n++) {
    const talk = await dial(port);
    assert.is(await talk.say("x"), "a:x");
    held.push(talk);
    const { worker } = await rig.haproxy.processes();
    await ask(join(rig.directory, "master.sock"), "reload", 2_000).catch(() => "");
    const isReplaced = async () => {
      const now = (await rig.haproxy.processes()).worker;
      return now !== undefined && now !== worker;
    };
    await until(isReplaced, { what: "the next worker", timeoutMs: 20_000, everyMs: 10 });
  }
  const isBounded = async () => (await rig.haproxy.processes()).old.length <= RELOADS_SURVIVED;
  await until(isBounded, { what: "end of the oldest worker", timeoutMs: 20_000 });
  await until(() => held[0]!.isEnded(), { what: "end of its connection", timeoutMs: 20_000 });
  await alive(held.slice(-OLD_WORKERS_MOST), "y");
});

test.run();

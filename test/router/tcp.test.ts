// time limit: 120 s
// TCP routes through the real HAProxy: connections as they are, PROXY protocol out, ports that come and go, drain.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RouterTarget } from "#api/router-agents.ts";
import { until } from "#lib/time.ts";
import { OLD_WORKERS_MOST } from "../../router/reload.ts";
import { freePort } from "../lib/free-port.ts";
import { get, origin, type Rig, type RigOptions, startLoad, startRig, target } from "./rig.ts";
import { db, dial, type Echo, type Job, listenEcho, type Talk } from "./tcp-rig.ts";

const rigs: Rig[] = [];
const echoes: Echo[] = [];
const closing: { close(): Promise<void> }[] = [];

const echo = async (name: string, port = 0): Promise<Echo> => {
  const made = await listenEcho(name, port);
  echoes.push(made);
  return made;
};
const newRig = async (options: RigOptions = {}) => {
  const made = await startRig(options);
  rigs.push(made);
  return made;
};
test.after.each(async () => {
  for (const rig of rigs.splice(0).reverse()) await rig.end(); // the newest has the HAProxy of a shared directory
  for (const each of echoes.splice(0)) each.end();
  for (const each of closing.splice(0)) await each.close();
});

/** Whatever connects is sent away at once, without a byte. */
async function isClosed(port: number): Promise<void> {
  const talk = await dial(port);
  await until(talk.isEnded, { what: `end on port ${port}`, timeoutMs: 5_000, everyMs: 2 });
}

test("a port leads to its jobs after one seamless reload, and new jobs need none", async () => {
  const [a, b] = [await echo("a"), await echo("b")];
  const web = await origin("web");
  closing.push(web);
  const rig = await newRig();
  const port = await freePort();
  const steady = target(1, [{ app: "steady", routes: ["s.test"], jobs: [web] }]);
  await rig.serve(steady);
  const load = startLoad(rig.port, "s.test", 4);
  const both = (generation: number, jobs: Job[]): RouterTarget => {
    const tcp = db(generation, jobs, [{ port }]);
    return { ...tcp, pools: [...steady.pools, ...tcp.pools], routes: steady.routes };
  };
  await rig.serve(both(2, [a]));
  assert.is(rig.converger.state().reloads, 1);
  const first = await dial(port);
  assert.is(await first.say("x"), "a:x");
  await rig.serve(both(3, [a, b]));
  const second = await dial(port);
  assert.is(await second.say("y"), "b:y", "the job with fewer connections");
  await rig.serve(both(4, [b]));
  assert.is(await (await dial(port)).say("z"), "b:z");
  const from = load.count();
  await until(() => load.count() > from + 20, { what: "traffic", timeoutMs: 30_000, everyMs: 5 });
  await load.stop();
  assert.equal(load.failures, [], "the reload fails no http request");
  assert.is(rig.converger.state().reloads, 1);
});

test("a job that drains keeps its connections, gets no new one, and is said to be free when the last has ended", async () => {
  const [a, b] = [await echo("a"), await echo("b")];
  const rig = await newRig();
  const port = await freePort();
  await rig.serve(db(1, [a], [{ port }]));
  const held = await dial(port);
  assert.is(await held.say("1"), "a:1");
  await rig.serve(db(2, [{ ...a, state: "drain" }, b], [{ port }]));
  assert.equal(rig.converger.state().draining, [{ jobId: "a", sessions: 1 }]);
  for (let n = 0; n < 5; n++) {
    const fresh = await dial(port);
    assert.is(await fresh.say("2"), "b:2");
    fresh.end();
  }
  assert.is(await held.say("3"), "a:3");
  held.end();
  await until(() => rig.converger.state().draining[0]?.sessions === 0, { what: "end of the drain", timeoutMs: 30_000 });
});

test("a reload for another port cuts no connection, and its drain still counts them", async () => {
  const [a, b] = [await echo("a"), await echo("b")];
  const rig = await newRig();
  const [port, other] = [await freePort(), await freePort()];
  await rig.serve(db(1, [a], [{ port }]));
  const held = await dial(port);
  assert.is(await held.say("1"), "a:1");
  const before = rig.converger.state().reloads;
  await rig.serve(db(2, [a], [{ port }, { port: other }]));
  assert.is(rig.converger.state().reloads, before + 1);
  assert.is(await held.say("2"), "a:2");
  assert.is(await (await dial(other)).say("3"), "a:3");
  await rig.serve(db(3, [{ ...a, state: "drain" }, b], [{ port }, { port: other }]));
  assert.ok(rig.converger.state().draining.some(({ sessions }) => sessions > 0));
  held.end();
});

for (const version of ["v1", "v2"] as const)
  test(`with PROXY protocol ${version} a job is told who the client is, before the client's first byte`, async () => {
    const a = await echo("a");
    const rig = await newRig();
    const port = await freePort();
    await rig.serve(db(1, [a], [{ port, proxyProtocol: version }]));
    const talk = await dial(port);
    a.first.splice(0); // what HAProxy's own checks said
    const said = talk.say("hello").catch(() => "");
    const hello = (data: Buffer) => data.includes("127.0.0.1") || data.subarray(13, 14).equals(Buffer.from([0x11]));
    const first = await until(() => a.first.find(hello), { what: "header", timeoutMs: 30_000, everyMs: 5 });
    if (version === "v1")
      assert.match(
        first.toString("latin1"),
        new RegExp(`^PROXY TCP4 127\\.0\\.0\\.1 127\\.0\\.0\\.1 \\d+ ${port}\\r\\n`),
      );
    else {
      assert.is(first.subarray(0, 12).toString("hex"), "0d0a0d0a000d0a515549540a");
      assert.is(first.readUInt8(12), 0x21, "version 2, PROXY");
      assert.equal([...first.subarray(16, 20)], [127, 0, 0, 1]);
      assert.is(first.readUInt16BE(26), port);
    }
    talk.end();
    await said;
  });

test("a port that another program has is refused by name; the rest is served, and it too once it is free", async () => {
  const a = await echo("a");
  const squatter = await echo("squatter");
  const rig = await newRig({ verifyEveryMs: 300 });
  const port = await freePort();
  await rig.serve(db(1, [a], [{ port: squatter.port }, { port }, { port: rig.port }]));
  assert.equal(
    rig.converger
      .state()
      .refused.map(({ what, why }) => `${what}: ${why}`)
      .sort(),
    [
      `port ${rig.port}: the router itself listens there`,
      `port ${squatter.port}: another program on the router's machine has it`,
    ].sort(),
  );
  assert.is(await (await dial(port)).say("x"), "a:x");
  assert.is(rig.converger.state().healthy, true);
  squatter.server.close();
  await once(squatter.server, "close");
  await until(() => rig.converger.state().refused.length === 1, { what: "the port", timeoutMs: 30_000 });
  const answers = async () => (await (await dial(squatter.port)).say("y")) === "a:y";
  await until(answers, { what: "answer on it", timeoutMs: 30_000, everyMs: 50 });
});

test("a port whose route is gone is closed", async () => {
  const a = await echo("a");
  const rig = await newRig();
  const port = await freePort();
  await rig.serve(db(1, [a], [{ port }]));
  assert.is(await (await dial(port)).say("x"), "a:x");
  await rig.serve(db(2, [a], []));
  await isClosed(port);
  await rig.serve(db(3, [a], [{ port }]));
  const again = async () => (await (await dial(port)).say("y")) === "a:y";
  await until(again, { what: "answer again", timeoutMs: 30_000, everyMs: 50 });
});

/** The first of `count` ports in a row that nobody listens on, away from those that clients get. */
async function freeRow(count: number): Promise<number> {
  const isFree = (port: number) =>
    new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
  for (let first = 21_000 + (process.pid % 400) * 20; first < 32_000; first += count) {
    const row = await Promise.all(Array.from({ length: count }, (_, n) => isFree(first + n)));
    if (row.every(Boolean)) return first;
  }
  throw new Error("no free ports in a row");
}

test("ports of the cluster's range come and go without a reload after the first, whatever else listens in it", async () => {
  const [a, b] = [await echo("a"), await echo("b")];
  const first = await freeRow(5);
  const squatter = await echo("squatter", first + 4);
  const tcpPorts = { first, last: first + 4 };
  const rig = await newRig();
  const served = async (generation: number, ports: number[], jobs: Job[] = [a]) => {
    const routed = ports.map((port) => ({ port }));
    await rig.serve({ ...db(generation, jobs, routed), tcpPorts });
  };
  await served(1, []);
  assert.is(rig.converger.state().reloads, 0, "without a TCP route nothing of it is listened on");
  assert.ok((await dial(first)).isEnded());
  await served(2, [first]);
  assert.is(rig.converger.state().reloads, 1);
  const before = await rig.haproxy.processes();
  const held = await dial(first);
  assert.is(await held.say("1"), "a:1");
  for (let n = 1; n < 4; n++) {
    await served(2 + n, [first, first + n], [b]);
    assert.is(await (await dial(first + n)).say("2"), "b:2");
  }
  await isClosed(first + 2);
  assert.is(await held.say("3"), "a:3");
  assert.equal(await rig.haproxy.processes(), before, "the same worker, and none from before");
  await served(7, []);
  assert.is(await held.say("4"), "a:4", "what is open stays, with its route gone");
  await served(8, [first, first + 4]);
  assert.match(rig.converger.state().refused[0]?.why ?? "", /another program/);
  assert.is(await (await dial(first + 4)).say("x"), "squatter:x");
  assert.is(squatter.sockets.size > 0, true);
  assert.is(rig.converger.state().reloads, 1);
});

test("reloads end no connection while eight older workers are enough, and the ninth ends the oldest", async () => {
  const a = await echo("a");
  const rig = await newRig();
  const port = await freePort();
  await rig.serve(db(1, [a], [{ port }]));
  await rig.abandon();
  const held: Talk[] = [];
  for (let n = 0; n <= OLD_WORKERS_MOST; n++) {
    const talk = await dial(port);
    assert.is(await talk.say(`${n}`), `a:${n}`);
    held.push(talk);
    if (n === OLD_WORKERS_MOST) assert.is(await held[0]!.say("still"), "a:still");
    await rig.haproxy.reload(rig.haproxy.loadedShape()!);
  }
  await until(() => held[0]!.isEnded(), { what: "end of the oldest", timeoutMs: 30_000 });
  for (const talk of held.slice(1)) assert.is(await talk.say("y"), "a:y");
  const count = async () => (await rig.haproxy.processes()).old.length === OLD_WORKERS_MOST;
  await until(count, { what: "eight older workers", timeoutMs: 30_000 });
});

test("a port that would cost others their connections waits and says so; all else is served meanwhile", async () => {
  const a = await echo("a");
  const web = await origin("web");
  closing.push(web);
  const rig = await newRig();
  const port = await freePort();
  await rig.serve(db(1, [a], [{ port }]));
  const held: Talk[] = [];
  for (let n = 0; n < OLD_WORKERS_MOST / 2; n++) {
    const talk = await dial(port);
    assert.is(await talk.say("x"), "a:x");
    held.push(talk);
    await rig.haproxy.reload(rig.haproxy.loadedShape()!);
  }
  const late = await freePort();
  const base = target(2, [{ app: "hello", routes: ["a.test"], jobs: [web] }]);
  const tcp = db(2, [a], [{ port }, { port: late }]);
  const { reloads } = rig.converger.state();
  await rig.serve({ ...tcp, pools: [...base.pools, ...tcp.pools], routes: base.routes });
  assert.is((await get(rig.port, "a.test")).body, "web");
  const waiting = () => rig.converger.state().refused.map(({ what, why }) => `${what}: ${why}`);
  assert.is(rig.converger.state().reloads, reloads);
  assert.match(waiting()[0] ?? "", new RegExp(`^port ${late}: it opens within 10 minutes`));
  for (const talk of held) talk.end();
  const opens = async () => (await (await dial(late)).say("z")) === "a:z";
  await until(opens, { what: "the port", timeoutMs: 30_000, everyMs: 100 });
  assert.equal(waiting(), []);
});

test("PROXY protocol in works for ports too", async () => {
  const a = await echo("a");
  const rig = await newRig({ proxySources: ["127.0.0.9"] });
  const port = await freePort();
  await rig.serve(db(1, [a], [{ port, proxyProtocol: "v1" }]));
  a.first.splice(0);
  const socket = connect({ host: "127.0.0.1", port, localAddress: "127.0.0.9" });
  socket.on("error", () => undefined);
  socket.write("PROXY TCP4 203.0.113.7 127.0.0.1 12345 80\r\nhello");
  const first = await until(() => a.first.find((data) => data.includes("203.0.113.7")), {
    what: "header",
    timeoutMs: 30_000,
  });
  assert.match(first.toString("latin1"), /^PROXY TCP4 203\.0\.113\.7 127\.0\.0\.1 12345 80\r\n/);
  socket.destroy();
});

test("http goes on being served while ports come and go", async () => {
  const web = await origin("web");
  closing.push(web);
  const rig = await newRig();
  await rig.serve(target(1, [{ app: "hello", routes: ["a.test"], jobs: [web] }]));
  const a = await echo("a");
  for (let n = 2; n < 5; n++) {
    const base = target(n, [{ app: "hello", routes: ["a.test"], jobs: [web] }]);
    const tcp = db(n, [a], n % 2 === 0 ? [{ port: await freePort() }] : []);
    await rig.serve({ ...tcp, pools: [...base.pools, ...tcp.pools], routes: base.routes });
    assert.is((await get(rig.port, "a.test")).body, "web");
  }
});

test.run();

// time limit: 120 s
// The router's loop with the real HAProxy on loopback, traffic included.
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { processId } from "#lib/process-id.ts";
import { until } from "#lib/time.ts";
import { noMaps } from "../../router/maps.ts";
import { render } from "../../router/render.ts";
import { ask } from "../../router/runtime.ts";
import { freePort } from "../lib/free-port.ts";
import { get, origin, type PoolSketch, type Rig, type RigOptions, startLoad, startRig, target } from "./rig.ts";

const origins: Awaited<ReturnType<typeof origin>>[] = [];
const rigs: Rig[] = [];
const newOrigin = async (name: string) => {
  const made = await origin(name);
  origins.push(made);
  return made;
};
const newRig = async (options: RigOptions = {}) => {
  const made = await startRig(options);
  rigs.push(made);
  return made;
};
test.after.each(async () => {
  for (const rig of rigs.splice(0).reverse()) await rig.end(); // the newest has the HAProxy of a shared directory
  for (const each of origins.splice(0)) await each.close();
});
const sketch = (jobs: PoolSketch["jobs"], routes = ["a.test"]) => ({ app: "hello", routes, jobs });
const worker = async (rig: Rig) => (await rig.haproxy.processes()).worker;
/** Whatever happened before, disk and runtime agree. */
const assertDiskIsRuntime = async (rig: Rig) => {
  const running = await rig.haproxy.running();
  const cfg = await readFile(join(rig.directory, "haproxy.cfg"), "utf8");
  let backend = "";
  for (const line of cfg.split("\n")) {
    backend = /^backend (\S+)/.exec(line)?.[1] ?? backend;
    const server = /^ {2}server (\S+) (\S+):(\d+)( disabled)?$/.exec(line);
    if (!server) continue;
    const slot = running.slots.get(`${backend}/${server[1]}`);
    assert.is(`${slot?.address}:${slot?.port}`, `${server[2]}:${server[3]}`);
    assert.is(slot?.mode === "ready", server[4] === undefined);
  }
  const map = (await readFile(join(rig.directory, "routes.map"), "utf8")).split("\n").filter((line) => line !== "");
  assert.equal([...running.maps.routes].map(([key, value]) => `${key} ${value}`).sort(), map.sort());
};

test("routes: exact host, wildcard, longest path by segments; unknown hosts and empty pools are told in words", async () => {
  const [a, b, c] = await Promise.all(["a", "b", "c"].map(newOrigin));
  const rig = await newRig();
  const before = await worker(rig);
  await rig.serve(
    target(7, [
      { app: "one", routes: ["a.test", "*.w.test"], jobs: [a!] },
      { app: "two", routes: ["a.test/api", "x.w.test"], jobs: [b!] },
      { app: "three", routes: ["a.test/api/v2"], jobs: [c!] },
      { app: "none", routes: ["none.test"], jobs: [] },
    ]),
  );
  const ask = async (host: string, path = "/") => {
    const { status, body } = await get(rig.port, host, { path });
    return status === 200 ? body : `${status} ${body.trim()}`;
  };
  assert.is(await ask("a.test"), "a");
  assert.is(await ask("A.Test.:8080", "/x?q=/api"), "a");
  assert.is(await ask("a.test", "/api"), "b");
  assert.is(await ask("a.test", "/api/?x"), "b");
  assert.is(await ask("a.test", "/apix"), "a");
  assert.is(await ask("a.test", "/api/v2/y"), "c");
  assert.is(await ask("y.w.test"), "a");
  assert.is(await ask("x.w.test"), "b");
  assert.is(await ask("w.test"), "404 no app has a route for w.test");
  assert.is(await ask("x.y.w.test"), "404 no app has a route for x.y.w.test");
  assert.is(await ask("none.test"), "503 no job of none is up");
  assert.is(await worker(rig), before);
  assert.is(rig.converger.state().reloads, 0);
  await assertDiskIsRuntime(rig);
});

test("forwarding headers are ours alone, and the request id is kept when it is sane", async () => {
  const a = await newOrigin("a");
  const rig = await newRig();
  await rig.serve(target(1, [sketch([a])]));
  const sent = {
    "x-forwarded-for": "6.6.6.6",
    "x-forwarded-user": "root",
    forwarded: "for=6.6.6.6",
    "x-request-id": "id-1",
  };
  const echo = await get(rig.port, "a.test", { path: "/echo", headers: sent });
  const got = JSON.parse(echo.body) as Record<string, string>;
  assert.is(got["x-forwarded-for"], "127.0.0.1");
  assert.is(got["x-forwarded-proto"], "http");
  assert.is(got["x-forwarded-host"], "a.test");
  assert.is(got["x-forwarded-user"], undefined);
  assert.is(got["forwarded"], undefined);
  assert.is(got["x-request-id"], "id-1");
  assert.is(echo.headers["x-request-id"], "id-1");
  const hostile = await get(rig.port, "a.test", { path: "/echo", headers: { "x-request-id": 'a" b' } });
  assert.match(String(hostile.headers["x-request-id"]), /^[0-9a-f-]{36}$/);
});

test("deploy, scale up and scale down under load fail no request and reload nothing", async () => {
  const all = await Promise.all(["1", "2", "3", "4"].map(newOrigin));
  const rig = await newRig();
  await rig.serve(target(1, [sketch([all[0]!])]));
  const load = startLoad(rig.port, "a.test");
  const some = async (more: number) => {
    const from = load.count();
    await until(() => load.count() > from + more, { what: "traffic", timeoutMs: 15_000, everyMs: 5 });
  };
  await some(50);
  let generation = 2;
  const [one, two, three, four] = all as [(typeof all)[0], (typeof all)[0], (typeof all)[0], (typeof all)[0]];
  for (const jobs of [[one, two], [one, two, three, four], [three, four], [four, one], [two], [two, three]]) {
    const now = rig.converger.target().pools[0]!.backends.map(({ port }) => port);
    const gone = now.filter((port) => !jobs.some((job) => job.port === port));
    await rig.serve(
      target(generation++, [
        sketch([
          ...jobs,
          ...all.filter(({ port }) => gone.includes(port)).map((job) => ({ ...job, state: "drain" as const })),
        ]),
      ]),
    );
    const isDrained = () => rig.converger.state().draining.every(({ sessions }) => sessions === 0);
    await until(isDrained, { what: "drain", timeoutMs: 30_000, everyMs: 5 });
    await rig.serve(target(generation++, [sketch(jobs)]));
    await some(50);
  }
  await load.stop();
  assert.equal(load.failures, []);
  assert.is(rig.converger.state().reloads, 0);
  assert.equal([...load.answers.keys()].sort(), ["1", "2", "3", "4"]);
  await assertDiskIsRuntime(rig);
});

test("a drained job ends its open request, gets no new one, and its slot is free only then", async () => {
  const [a, b] = [await newOrigin("a"), await newOrigin("b")];
  const rig = await newRig({ slots: 2 });
  await rig.serve(target(1, [sketch([a])]));
  const slow = get(rig.port, "a.test", { path: "/slow" });
  slow.catch(() => undefined); // awaited below, unless something before fails
  await until(() => a.open === 1, { what: "open request", timeoutMs: 30_000, everyMs: 5 });
  await rig.serve(target(2, [sketch([{ ...a, state: "drain" }, b])]));
  assert.equal(rig.converger.state().draining, [{ jobId: "a", sessions: 1 }]);
  const before = a.requests;
  for (let n = 0; n < 10; n++) assert.is((await get(rig.port, "a.test")).body, "b");
  assert.is(a.requests, before);
  await rig.serve(target(3, [sketch([b])]));
  assert.is((await rig.haproxy.running()).slots.get("be_0001/s1")?.port, a.port, "left the target, still answering");
  a.release();
  assert.is((await slow).body, "a");
  const isFree = async () => (await rig.haproxy.running()).slots.get("be_0001/s1")?.port === 1;
  await until(isFree, { what: "free slot", timeoutMs: 30_000, everyMs: 20 });
  await until(() => rig.converger.state().draining.length === 0, {
    what: "end of the drain",
    timeoutMs: 30_000,
    everyMs: 5,
  });
});

test("more pools and jobs than there is room for are served after one reload, which fails no request", async () => {
  const a = await newOrigin("a");
  const rig = await newRig({ backends: 1, slots: 1 });
  await rig.serve(target(1, [sketch([a])]));
  const load = startLoad(rig.port, "a.test");
  const slow = get(rig.port, "a.test", { path: "/slow" });
  slow.catch(() => undefined); // awaited below, unless something before fails
  await until(() => a.open > 0 && load.count() > 100, { what: "traffic", timeoutMs: 30_000, everyMs: 5 });
  const others = await Promise.all(["b", "c", "d"].map(newOrigin));
  const pools = [
    sketch([a, ...others]),
    { app: "second", routes: ["b.test"], jobs: [others[0]!] },
    { app: "third", routes: ["c.test"], jobs: [] },
  ];
  await rig.serve(target(2, pools));
  assert.is(rig.converger.state().reloads, 1, "growth of everything is one reload");
  assert.is((await get(rig.port, "b.test")).body, "b");
  await rig.serve(target(3, [sketch([{ ...a, state: "drain" }, ...others]), ...pools.slice(1)]));
  assert.equal(
    rig.converger.state().draining.map(({ sessions }) => sessions > 0),
    [true],
    "a request on the old worker counts",
  );
  const from = load.count();
  await until(() => load.count() > from + 100, { what: "traffic", timeoutMs: 30_000, everyMs: 5 });
  await load.stop();
  assert.equal(load.failures, []);
  a.release();
  assert.is((await slow).body, "a");
  await until(() => rig.converger.state().draining[0]?.sessions === 0, {
    what: "drain",
    timeoutMs: 30_000,
    everyMs: 10,
  });
  await assertDiskIsRuntime(rig);
});

for (const victim of ["worker", "master"] as const)
  test(`kill -9 of the ${victim}: the same routes answer again`, async () => {
    const a = await newOrigin("a");
    const rig = await newRig();
    await rig.serve(target(1, [sketch([a])]));
    const processes = await rig.haproxy.processes();
    const killedAtMs = performance.now();
    process.kill(processes[victim]!, "SIGKILL");
    const isBack = async () => {
      const now = await rig.haproxy.processes();
      return (
        now.master !== processes.master &&
        now.worker !== processes.worker &&
        (await get(rig.port, "a.test")).body === "a"
      );
    };
    await until(isBack, { what: "answer", timeoutMs: 20_000, everyMs: 10 });
    const tookMs = Math.round(performance.now() - killedAtMs);
    console.log(`back after ${tookMs} ms`);
    assert.is(await processId(processes.worker!), undefined, "no worker of the old master shares the port");
    await until(() => rig.converger.state().healthy && rig.converger.state().haproxyPid !== processes.master, {
      what: "health",
      timeoutMs: 30_000,
    });
    await assertDiskIsRuntime(rig);
  });

test("routes that cannot be served are refused by name, and the others are served", async () => {
  const a = await newOrigin("a");
  const rig = await newRig();
  const good = target(1, [sketch([a])]);
  const bad = ['x.test"\n  bind :1', "y.test; shutdown sessions", "a.test b", "../../etc"].map((domain) => ({
    domain,
    path: "/",
    poolId: "hello/web",
  }));
  await rig.serve({ ...good, routes: [...bad, ...good.routes, { domain: "z.test", path: "/", poolId: "ghost/web" }] });
  assert.is((await get(rig.port, "a.test")).body, "a");
  assert.is(rig.converger.state().refused.length, 5);
  assert.equal([...(await rig.haproxy.running()).maps.routes.keys()], ["a.test/"]);
});

test("what somebody changes by hand in HAProxy is put right", async () => {
  const a = await newOrigin("a");
  const rig = await newRig({ verifyEveryMs: 300 });
  await rig.serve(target(1, [sketch([a])]));
  const socket = join(rig.directory, "worker.sock");
  const routes = join(rig.directory, "routes.map");
  await ask(
    socket,
    `set server be_0001/s1 state maint; set server be_0002/s1 addr 127.0.0.1 port ${a.port}; set server be_0002/s1 state ready`,
  );
  await ask(
    socket,
    `del map ${routes} a.test/; add map ${routes} evil.test/ be_0002; add map ${routes} evil.test/ be_0002`,
  );
  const isRight = async () =>
    (await get(rig.port, "a.test")).body === "a" && (await get(rig.port, "evil.test")).status === 404;
  await until(isRight, { what: "repair", timeoutMs: 30_000, everyMs: 20 });
  await until(() => assertDiskIsRuntime(rig).then(() => true), { what: "equality", timeoutMs: 30_000 });
  assert.is(rig.converger.state().reloads, 0);
});

test("an older term or generation is refused", async () => {
  const rig = await newRig();
  await rig.serve(target(5, [], 3));
  assert.not.ok(rig.converger.accept(target(9, [], 2)));
  assert.not.ok(rig.converger.accept(target(4, [], 3)));
  assert.ok(rig.converger.accept(target(1, [], 4)));
});

test("a job that listens gets traffic at once; one that does not gets none until it does", async () => {
  const a = await newOrigin("a");
  const late = await freePort();
  const rig = await newRig();
  await rig.serve(target(1, [sketch([a, { port: late }])]));
  const tookMs: number[] = [];
  for (let n = 0; n < 20; n++) {
    const startedAtMs = performance.now();
    assert.is((await get(rig.port, "a.test", { method: "POST" })).body, "a");
    tookMs.push(performance.now() - startedAtMs);
  }
  // Every second one would have, for a second at least; one that this machine was slow with says nothing.
  assert.ok(tookMs.sort((a, b) => a - b)[13]! < 800, "requests waited for the closed port");
  origins.push(await origin("late", late));
  const answers = async () => (await get(rig.port, "a.test")).body === "late";
  await until(answers, { what: "traffic to the late job", timeoutMs: 30_000, everyMs: 10 });
  const b = await newOrigin("b");
  await rig.serve(target(2, [sketch([b])]));
  assert.is((await get(rig.port, "a.test")).body, "b");
});

test("a job that died is out after its second failed check, and until then requests go to the others", async () => {
  const [a, b] = [await newOrigin("a"), await newOrigin("b")];
  const rig = await newRig();
  await rig.serve(target(1, [sketch([a, b])]));
  const load = startLoad(rig.port, "a.test", 4);
  await until(() => load.answers.size === 2, { what: "both answer", timeoutMs: 30_000, everyMs: 5 });
  await b.close();
  const isOut = async () => (await rig.haproxy.running()).slots.get("be_0001/s2")?.isUp === false;
  await until(isOut, { what: "job out", timeoutMs: 30_000, everyMs: 20 });
  await load.stop();
  const hard = load.failures.filter((failure) => !/^502|socket hang up|ECONNRESET/.test(failure));
  assert.equal(hard, [], "only what was being answered when it died may fail");
});

test("the access log has the agreed line with the job that answered", async () => {
  const a = await newOrigin("a");
  const rig = await newRig({ accessLog: true });
  const { copyAccessLog } = await import("../../router/access-log.ts");
  const { silentLog } = await import("#lib/log.ts");
  const stop = new AbortController();
  const file = join(rig.directory, "access.log");
  const copying = copyAccessLog({
    pipe: rig.haproxy.accessPipe,
    file,
    jobOf: rig.converger.jobOf,
    log: silentLog(),
    signal: stop.signal,
  });
  try {
    await rig.serve(target(1, [sketch([a])]));
    await get(rig.port, "a.test", { path: '/p"q?secret=1', headers: { "x-request-id": "r1" } });
    await get(rig.port, "nobody.test x=1");
    const lines = await until(
      async () => {
        const text = await readFile(file, "utf8");
        return text.split("\n").length > 2 ? text.trim().split("\n") : undefined;
      },
      { what: "two lines", timeoutMs: 30_000, everyMs: 20 },
    );
    assert.match(
      lines[0]!,
      /^app=hello at=info method=GET path="\/p.*q" host=a.test request_id=r1 fwd="127.0.0.1" job=web.a connect=\d+ms service=\d+ms status=200 bytes=\d+ protocol=http$/,
    );
    assert.match(
      lines[1]!,
      /^app=- at=info method=GET path="\/" host=nobody\.test%20x%3D1 request_id=\S+ fwd="127\.0\.0\.1" job=- .* status=404 /,
    );
  } finally {
    stop.abort();
    await copying;
  }
});

test("a port that is taken is an error that says which and by whom", async () => {
  const server = createServer();
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  try {
    await newRig({ port });
    assert.unreachable("it started");
  } catch (error) {
    assert.match(String(error), new RegExp(`tcp port ${port} is taken by .+ \\(pid ${process.pid}\\)`));
  } finally {
    server.close();
  }
});

test("a configuration of another shape is loaded over the HAProxy that an earlier run left", async () => {
  const a = await newOrigin("a");
  const first = await startRig();
  await first.serve(target(1, [sketch([a])]));
  await first.abandon();
  const again = await newRig({ directory: first.directory, port: first.port, threads: 1 });
  await until(() => again.converger.state().reloads === 1 && again.converger.state().generation === 1, {
    what: "reload",
    timeoutMs: 30_000,
  });
  assert.is((await get(first.port, "a.test")).body, "a");
  assert.is(
    render(
      { assignment: { backends: [] }, maps: noMaps(), certificates: new Map() },
      {
        directory: "/d",
        bind: "1.2.3.4",
        httpPort: 1,
        maxConnections: 10,
        accessLog: false,
        threads: 1,
      },
    ).cfg.includes("nbthread 1"),
    true,
  );
});

test.run();

import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect, createServer as createTcp, type Socket } from "node:net";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULT_HEALTH } from "#api/jobs.ts";
import { deadline, until } from "#lib/time.ts";
import {
  fold,
  freshStreak,
  isHealthyStatus,
  nextProbeMs,
  probe,
  type Streak,
  watchHealth,
} from "../../hostd/health.ts";

const over = (outcomes: (string | undefined)[], rule = { rise: 2, fall: 3 }, start = freshStreak()): Streak =>
  outcomes.reduce((streak, failure) => fold(streak, failure, rule), start);

test("rise successes in a row make it healthy; a failure in between begins anew", () => {
  assert.is(over([undefined]).state, "starting");
  assert.is(over([undefined, "x", undefined]).state, "starting");
  assert.is(over([undefined, undefined]).state, "healthy");
});

test("fall failures in a row make it unhealthy; fewer do not", () => {
  const healthy = over([undefined, undefined]);
  assert.is(over(["a", "b"], undefined, healthy).state, "healthy");
  assert.is(over(["a", "b", undefined, "c"], undefined, healthy).state, "healthy");
  const fell = over(["a", "b", "c"], undefined, healthy);
  assert.is(fell.state, "unhealthy");
  assert.is(fell.reason, "c");
  assert.is(over([undefined], undefined, fell).state, "unhealthy");
  assert.is(over([undefined, undefined], undefined, fell).state, "healthy");
});

test("a process that never answered is starting, not unhealthy", () => {
  assert.is(over(Array(50).fill("nothing listens")).state, "starting");
});

test("one that starts is looked at often, the longer it takes the less, and never less than its interval says", () => {
  const check = { intervalMs: 1_000 };
  const starting = over(["refused", "refused"]);
  const rows: [Streak, sinceMs: number, nextMs: number][] = [
    [starting, 0, 100],
    [starting, 400, 100],
    [starting, 2_000, 400],
    [starting, 60_000, 1_000],
    [over(["refused", undefined]), 500, 1_000],
    [over([undefined, undefined]), 500, 1_000],
    [over(["x", "x", "x"], undefined, freshStreak("healthy")), 500, 1_000],
  ];
  for (const [streak, sinceMs, nextMs] of rows)
    assert.is(nextProbeMs(streak, sinceMs, check), nextMs, `${streak.state} ${streak.successes} after ${sinceMs} ms`);
  assert.is(nextProbeMs(starting, 0, { intervalMs: 50 }), 50);
});

test("the state never changes without a whole streak", () => {
  fc.assert(
    fc.property(
      fc.array(fc.option(fc.constant("no"), { nil: undefined })),
      fc.integer({ min: 1, max: 4 }),
      (outcomes, n) => {
        let streak = freshStreak("healthy");
        outcomes.forEach((failure, at) => {
          const next = fold(streak, failure, { rise: n, fall: n });
          if (next.state !== streak.state) {
            const last = outcomes.slice(at - n + 1, at + 1);
            assert.is(last.length, n);
            assert.ok(last.every((outcome) => (outcome === undefined) === (failure === undefined)));
          }
          streak = next;
        });
      },
    ),
  );
});

test("statuses are a list of numbers and ranges; left out, anything but an error is healthy", () => {
  const healthy = (wanted?: string) =>
    [200, 204, 301, 399, 404, 500].filter((status) => isHealthyStatus(status, wanted));
  assert.equal(healthy(), [200, 204, 301, 399]);
  assert.equal(healthy("200"), [200]);
  assert.equal(healthy("204,400-499"), [204, 404]);
  assert.equal(healthy("500-599,200-200"), [200, 500]);
});

const signal = AbortSignal.timeout(30_000);
const check = { ...DEFAULT_HEALTH, timeoutMs: 300 };

test("tcp: a listener is healthy, a closed port says so", async () => {
  const server = createTcp().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  assert.is(await probe({ ...check, type: "tcp" }, { address: "127.0.0.1", port }, signal), undefined);
  await new Promise((resolve) => server.close(resolve));
  assert.is(
    await probe({ ...check, type: "tcp" }, { address: "127.0.0.1", port }, signal),
    `nothing listens on port ${port}`,
  );
});

/** A port that completes no handshake: it listens, its program accepts nothing, and its queue is full. */
async function withFullListener(body: (port: number) => Promise<void>): Promise<void> {
  const worker = new Worker(
    `const { createServer } = require("node:net");
     const { parentPort } = require("node:worker_threads");
     const server = createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
       parentPort.postMessage(server.address().port);
       setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
     });`,
    { eval: true },
  );
  const held: Socket[] = [];
  try {
    const [port] = (await once(worker, "message")) as [number];
    // Linux queues one more than the backlog.
    for (let n = 0; n < 2; n++) {
      const socket = connect({ host: "127.0.0.1", port });
      socket.on("error", () => undefined);
      held.push(socket);
      await once(socket, "connect");
    }
    await body(port);
  } finally {
    for (const socket of held) socket.destroy();
    await worker.terminate();
  }
}

test("tcp: a port that takes no connection is a failure after the check's time, not for ever", () =>
  withFullListener(async (port) => {
    const tcp = { ...check, type: "tcp" as const };
    const looked = probe(tcp, { address: "127.0.0.1", port }, signal);
    assert.is(await deadline(looked, 20_000, "the end of the probe"), `no connection on port ${port} in time`);

    const stop = new AbortController();
    const watch = watchHealth({ signal: stop.signal, onChange: () => {} });
    const fast = { ...tcp, timeoutMs: 50, intervalMs: 5, fall: 2 };
    watch.sync([{ containerId: "c1", check: fast, address: "127.0.0.1", port, wasHealthy: true }]);
    const fell = () => watch.get("c1")?.state === "unhealthy";
    await until(fell, { what: "its fall", timeoutMs: 20_000, everyMs: 5 }).finally(() => stop.abort());
    assert.is(watch.get("c1")?.reason, `no connection on port ${port} in time`);
  }));

test("a probe under way ends with whoever asked for it", () =>
  withFullListener(async (port) => {
    const asked = new AbortController();
    const looked = probe({ ...check, type: "tcp", timeoutMs: 600_000 }, { address: "127.0.0.1", port }, asked.signal);
    asked.abort();
    assert.match((await deadline(looked, 20_000, "the end of the probe")) ?? "", /no connection/);
  }));

test("http: 200 to 399 are healthy, others say their status, silence ends in time", async () => {
  const server = createServer((req, res) => {
    if (req.url === "/silent") return;
    res.statusCode = Number(req.url?.slice(1));
    res.end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const get = (path: string) => probe({ ...check, type: "http", path }, { address: "127.0.0.1", port }, signal);
  assert.is(await get("/200"), undefined);
  assert.is(await get("/302"), undefined);
  assert.is(await get("/404"), "GET /404 answered 404");
  assert.is(await get("/500"), "GET /500 answered 500");
  assert.is(await get("/silent"), "GET /silent got no answer in time");
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

test("http: an answer without end is judged by its status, and nothing of it is held afterwards", async () => {
  const left = new AbortController();
  const server = createServer((_, res) => {
    res.on("close", () => left.abort());
    res.write("the first of many");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  try {
    const looked = probe({ ...check, type: "http", timeoutMs: 30_000 }, { address: "127.0.0.1", port }, signal);
    assert.is(await looked, undefined);
    await until(() => left.signal.aborted, { what: "the end of its connection", timeoutMs: 20_000, everyMs: 5 });
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

test("each watched container is probed until it is no longer watched", async () => {
  const stop = new AbortController();
  let answer: string | undefined = "not yet";
  let changes = 0;
  const watch = watchHealth({
    signal: stop.signal,
    onChange: () => changes++,
    probe: async () => answer,
  });
  const watched = { containerId: "c1", check: { ...check, intervalMs: 5 }, address: "a1", port: 80, wasHealthy: false };
  watch.sync([watched]);
  assert.is(watch.get("c1"), undefined, "nothing is known before the first probe");
  await until(() => watch.get("c1")?.reason === "not yet", { what: "first probe", timeoutMs: 30_000, everyMs: 5 });
  assert.is(watch.get("c1")?.state, "starting");
  answer = undefined;
  await until(() => watch.get("c1")?.state === "healthy", { what: "health", timeoutMs: 30_000, everyMs: 5 });
  assert.is(changes, 2);
  watch.sync([]);
  assert.is(watch.get("c1"), undefined);
  stop.abort();
});

test("a change is news, the same again is none: another state, and another reason in the same state", async () => {
  const stop = new AbortController();
  let [answer, probes, changes]: [string | undefined, number, number] = ["no answer", 0, 0];
  const watch = watchHealth({
    signal: stop.signal,
    onChange: () => changes++,
    probe: async () => {
      probes++;
      return answer;
    },
  });
  const after = async (more: number) => {
    const from = probes;
    await until(() => probes >= from + more, { what: "probes", timeoutMs: 30_000, everyMs: 1 });
    return changes;
  };
  watch.sync([{ containerId: "c1", check: { ...check, intervalMs: 1 }, address: "a", port: 1, wasHealthy: false }]);
  assert.is(await after(5), 1, "it is known now");
  answer = "another answer";
  assert.is(await after(5), 2, "it is starting still");
  answer = undefined;
  assert.is(await after(check.rise + 5), 3, "it is healthy now");
  stop.abort();
});

test("one adopted as healthy is healthy until fall failures say otherwise", async () => {
  const stop = new AbortController();
  let failing = 0;
  const watch = watchHealth({ signal: stop.signal, onChange: () => {}, probe: async () => `no ${++failing}` });
  watch.sync([{ containerId: "c1", check: { ...check, intervalMs: 5 }, address: "a", port: 1, wasHealthy: true }]);
  await until(() => failing === 1 && watch.get("c1")?.state === "healthy", {
    what: "first look",
    timeoutMs: 30_000,
    everyMs: 1,
  });
  await until(() => watch.get("c1")?.state === "unhealthy", { what: "its fall", timeoutMs: 30_000, everyMs: 5 });
  stop.abort();
});

test("a container without an address yet is not healthy, and is once it has one", async () => {
  const stop = new AbortController();
  const watch = watchHealth({ signal: stop.signal, onChange: () => {}, probe: async () => undefined });
  const watched = { containerId: "c1", check: { ...check, intervalMs: 5 }, port: 1, wasHealthy: false };
  watch.sync([{ ...watched, address: undefined }]);
  const early = await until(() => watch.get("c1"), { what: "first look", timeoutMs: 30_000, everyMs: 5 });
  assert.equal(early, { state: "starting", reason: "it has no address yet" });
  watch.sync([{ ...watched, address: "100.64.7.2" }]);
  await until(() => watch.get("c1")?.state === "healthy", { what: "health", timeoutMs: 30_000, everyMs: 5 });
  stop.abort();
});

test("without a port or with check none, running is healthy", async () => {
  const stop = new AbortController();
  const watch = watchHealth({ signal: stop.signal, onChange: () => {}, probe: async () => "must not be asked" });
  const none = { ...check, type: "none" as const };
  watch.sync([
    { containerId: "c1", check, address: "a", port: undefined, wasHealthy: false },
    { containerId: "c2", check: none, address: "a", port: 1, wasHealthy: false },
  ]);
  for (const id of ["c1", "c2"])
    await until(() => watch.get(id)?.state === "healthy", { what: id, timeoutMs: 30_000, everyMs: 5 });
  stop.abort();
});

test.run();

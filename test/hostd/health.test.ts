import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcp } from "node:net";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULT_HEALTH } from "#api/jobs.ts";
import { until } from "#lib/time.ts";
import { fold, freshStreak, isHealthyStatus, probe, type Streak, watchHealth } from "../../hostd/health.ts";

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
  await until(() => watch.get("c1")?.reason === "not yet", { what: "first probe", timeoutMs: 5_000, everyMs: 5 });
  assert.is(watch.get("c1")?.state, "starting");
  answer = undefined;
  await until(() => watch.get("c1")?.state === "healthy", { what: "health", timeoutMs: 5_000, everyMs: 5 });
  assert.is(changes, 2);
  watch.sync([]);
  assert.is(watch.get("c1"), undefined);
  stop.abort();
});

test("one adopted as healthy is healthy until fall failures say otherwise", async () => {
  const stop = new AbortController();
  let failing = 0;
  const watch = watchHealth({ signal: stop.signal, onChange: () => {}, probe: async () => `no ${++failing}` });
  watch.sync([{ containerId: "c1", check: { ...check, intervalMs: 5 }, address: "a", port: 1, wasHealthy: true }]);
  await until(() => failing === 1 && watch.get("c1")?.state === "healthy", {
    what: "first look",
    timeoutMs: 5_000,
    everyMs: 1,
  });
  await until(() => watch.get("c1")?.state === "unhealthy", { what: "its fall", timeoutMs: 5_000, everyMs: 5 });
  stop.abort();
});

test("a container without an address yet is not healthy, and is once it has one", async () => {
  const stop = new AbortController();
  const watch = watchHealth({ signal: stop.signal, onChange: () => {}, probe: async () => undefined });
  const watched = { containerId: "c1", check: { ...check, intervalMs: 5 }, port: 1, wasHealthy: false };
  watch.sync([{ ...watched, address: undefined }]);
  const early = await until(() => watch.get("c1"), { what: "first look", timeoutMs: 5_000, everyMs: 5 });
  assert.equal(early, { state: "starting", reason: "it has no address yet" });
  watch.sync([{ ...watched, address: "100.64.7.2" }]);
  await until(() => watch.get("c1")?.state === "healthy", { what: "health", timeoutMs: 5_000, everyMs: 5 });
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
    await until(() => watch.get(id)?.state === "healthy", { what: id, timeoutMs: 5_000, everyMs: 5 });
  stop.abort();
});

test.run();

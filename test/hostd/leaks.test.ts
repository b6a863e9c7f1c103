// What waits for something leaves nothing behind with the signals that live as long as the program: thousands of waits, counted.
import { getEventListeners } from "node:events";
import { createServer } from "node:http";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULT_HEALTH } from "#api/jobs.ts";
import { every, joined, sleep, until } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";
import { probe, watchHealth } from "../../hostd/health.ts";
import { jobChanges } from "../../hostd/sessions/job-changes.ts";
import { limiter, singleflight } from "../../hostd/singleflight.ts";

const WAITS = 10_000;
const listeners = (signal: AbortSignal): number => getEventListeners(signal, "abort").length;
/** Composite signals that still hear of this one. */
const followers = (signal: AbortSignal): number => {
  const symbol = Object.getOwnPropertySymbols(signal).find((one) => String(one).includes("DependantSignals"));
  return symbol === undefined ? 0 : ((signal as unknown as Record<symbol, Set<unknown>>)[symbol]?.size ?? 0);
};

const { signal } = new AbortController();
const wake = createWake();
const slots = limiter(1);
const once = singleflight(async () => undefined);
const changes = jobChanges(signal);
const CASES: [what: string, waits: number, wait: () => Promise<unknown>][] = [
  ["a bell that nobody rings", WAITS / 50, () => wake.wait(0, signal)],
  [
    "a bell that is rung",
    WAITS,
    () => {
      const waited = wake.wait(60_000, signal);
      wake.ring();
      return waited;
    },
  ],
  ["a sleep", WAITS / 1_000, () => Promise.all(Array.from({ length: 1_000 }, () => sleep(0, signal)))],
  ["a place in a line", WAITS, () => Promise.all([slots(async () => 1, signal), slots(async () => 2, signal)])],
  ["work that others do too", WAITS, () => once("key", signal)],
  [
    "a joined signal",
    WAITS,
    async () => {
      const both = joined(signal, new AbortController().signal);
      await Promise.resolve();
      both.release();
    },
  ],
  [
    "a claim about a job",
    WAITS,
    () => {
      let holds = false;
      const waited = changes.changed(() => holds, signal);
      holds = true;
      changes.ring();
      return waited;
    },
  ],
  [
    "a turn of a loop",
    1,
    async () => {
      for await (const n of every(0, signal)) if (n === WAITS / 50) return;
    },
  ],
];
for (const [what, waits, wait] of CASES)
  test(`${what} leaves no listener behind, however often`, async () => {
    const before = listeners(signal);
    for (let n = 0; n < waits; n++) await wait();
    assert.is(listeners(signal), before);
    assert.is(followers(signal), 0);
  });

test("health checks leave no listener behind, answered, refused or late", async () => {
  const server = createServer((asked, reply) => void (asked.url === "/late" || reply.end("ok"))).listen(0, "127.0.0.1");
  await until(() => server.listening, { what: "a server", timeoutMs: 5_000, everyMs: 2 });
  const { port } = server.address() as { port: number };
  const to = { address: "127.0.0.1", port };
  const check = { ...DEFAULT_HEALTH, type: "http", timeoutMs: 5_000 } as const;
  try {
    for (let n = 0; n < 200; n++) {
      assert.is(await probe({ ...check, path: "/" }, to, signal), undefined);
      assert.is(await probe({ ...check, type: "tcp" }, to, signal), undefined);
    }
    assert.match(String(await probe({ ...check, path: "/late", timeoutMs: 20 }, to, signal)), /no answer in time/);
    assert.match(String(await probe({ ...check, type: "tcp" }, { ...to, port: 1 }, signal)), /nothing listens/);
  } finally {
    server.closeAllConnections();
    server.close();
  }
  assert.is(listeners(signal), 0);
  assert.is(followers(signal), 0);
});

test("a container that goes takes its health check along", async () => {
  const health = watchHealth({ signal, onChange: () => undefined, probe: async () => undefined });
  const check = { ...DEFAULT_HEALTH, intervalMs: 1 };
  for (let n = 0; n < 200; n++)
    health.sync([{ containerId: `c${n}`, check, address: "127.0.0.1", port: 1, wasHealthy: false }]);
  health.sync([]);
  await until(() => listeners(signal) === 0, { what: "the last listener's end", timeoutMs: 5_000, everyMs: 2 });
  assert.is(followers(signal), 0);
});

test("a joined signal ends with the first of its own, for its reason, and hears nothing once it is let go", () => {
  const [a, b] = [new AbortController(), new AbortController()];
  const both = joined(a.signal, b.signal);
  b.abort(new Error("b"));
  assert.is((both.signal.reason as Error).message, "b");
  assert.is(listeners(a.signal), 0);
  const left = joined(a.signal);
  left.release();
  a.abort(new Error("a"));
  assert.not.ok(left.signal.aborted);
  assert.is((joined(a.signal).signal.reason as Error).message, "a", "one that is over already ends it at once");
});

test.run();

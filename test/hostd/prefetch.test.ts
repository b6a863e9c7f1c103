// The stack's images before a build asks for them: which, when there is room, and behind whom.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { fakeEngine } from "../../hostd/engine/fake.ts";
import { nextPrefetch, type Room } from "../../hostd/prefetch.ts";
import { prefetchLoop, roomOf } from "../../hostd/prefetch-loop.ts";
import { target } from "./jobs.ts";

const GB = 1024 ** 3;
const image = (part: string, sign: string) => `127.0.0.1:5000/stack/${part}@sha256:${sign.repeat(64)}`;
const stack = { name: "flynn-12", builder: image("builder", "b"), runner: image("runner", "a"), prefetch: true };
const room = (freeGb: number, totalGb: number, inMemory = false): Room => ({
  freeBytes: freeGb * GB,
  totalBytes: totalGb * GB,
  inMemory,
});
const next = (fields: Partial<Parameters<typeof nextPrefetch>[0]> = {}) =>
  nextPrefetch({ stack, present: new Set(), room: room(50, 100), ...fields });

test("the runner comes first, then the builder, then nothing", () => {
  assert.equal(next(), { image: stack.runner, part: "runner" });
  assert.equal(next({ present: new Set([stack.runner]) }), { image: stack.builder, part: "builder" });
  assert.is(next({ present: new Set([stack.runner, stack.builder]) }), undefined);
});

test("without a stack, or where no build may come, nothing is fetched", () => {
  assert.is(next({ stack: undefined }), undefined);
  assert.is(next({ stack: { ...stack, prefetch: false } }), undefined);
  assert.is(next({ stack: { name: "s", builder: stack.builder, runner: stack.runner } }), undefined);
});

test("a disk keeps a tenth and never less than 4 GiB free", () => {
  const withRunner = new Set([stack.runner]);
  assert.ok("waits" in next({ room: room(4.5, 20) })!);
  assert.ok("image" in next({ room: room(5, 20) })!);
  assert.ok("waits" in next({ room: room(5, 20), present: withRunner })!);
  assert.ok("waits" in next({ room: room(11.99, 100), present: withRunner })!);
  assert.ok("image" in next({ room: room(12, 100), present: withRunner })!);
});

test("a host whose state is memory keeps half of it: a small one fetches the runner at most", () => {
  const withRunner = new Set([stack.runner]);
  assert.ok("waits" in next({ room: room(1, 1, true) })!);
  assert.ok("image" in next({ room: room(2, 2, true) })!);
  assert.ok("waits" in next({ room: room(4.74, 8, true) })!);
  assert.ok("image" in next({ room: room(4.75, 8, true) })!);
  assert.ok("waits" in next({ room: room(1.6, 2, true), present: withRunner })!);
  assert.ok("image" in next({ room: room(7, 8, true), present: withRunner })!);
  assert.match(JSON.stringify(next({ room: room(0, 8, true) })), "too little memory for the runner image");
});

function loop(options: { pulling?: () => boolean; room?: Room; healthy?: () => boolean } = {}) {
  const engine = fakeEngine();
  const controller = new AbortController();
  let told = target([], { stack });
  let looks = 0;
  const ended = prefetchLoop({
    engine,
    target: () => {
      looks++;
      return told;
    },
    healthy: options.healthy ?? (() => true),
    pulling: options.pulling ?? (() => false),
    room: async () => options.room ?? room(50, 100),
    log: silentLog(),
    signal: controller.signal,
    everyMs: 5,
    yieldMs: 5,
  });
  return {
    engine,
    /** Resolves once it has looked a few times more. */
    looks: async (more: number) => {
      const enough = looks + more;
      await happens("more looks", () => looks >= enough);
    },
    pulls: () => engine.calls.filter((call) => call.startsWith("pull ")),
    tell: (next: typeof stack) => {
      told = target([], { stack: next });
    },
    end: async () => {
      controller.abort();
      await ended;
    },
  };
}
const happens = (what: string, probe: () => boolean) => until(probe, { what, timeoutMs: 30_000, everyMs: 2 });

test("both are fetched, one after the other, and those of the next stack when it changes; then the engine is left alone", async () => {
  const host = loop();
  await happens("both images", () => host.engine.present.size === 2);
  assert.equal(host.pulls(), [`pull ${stack.runner}`, `pull ${stack.builder}`]);
  host.tell({ ...stack, builder: image("builder", "c") });
  await happens("the next builder", () => host.engine.present.has(image("builder", "c")));
  await happens("a look that finds all here", () => host.engine.calls.at(-1) === "images");
  const calls = host.engine.calls.length;
  await host.looks(5);
  assert.is(host.engine.calls.length, calls);
  await host.end();
});

test("a job that waits for its image goes before, also in the middle of a fetch", async () => {
  let pulling = true;
  let underway = 0;
  const host = loop({ pulling: () => pulling });
  host.engine.pull = async (ref, signal) => {
    underway++;
    if (underway > 1) {
      host.engine.present.add(ref);
      return;
    }
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  };
  assert.is(underway, 0);
  pulling = false;
  await happens("a fetch", () => underway === 1);
  pulling = true;
  await host.looks(3);
  assert.is(underway, 1, "it made way, and none began while the job waits");
  pulling = false;
  await happens("both images", () => host.engine.present.size === 2);
  await host.end();
});

test("a fetch that fails is tried again", async () => {
  const host = loop();
  const { pull } = host.engine;
  let failures = 0;
  host.engine.pull = async (ref, signal) => {
    if (failures++ < 2) throw new Error("registry away");
    await pull(ref, signal);
  };
  await happens("both images", () => host.engine.present.size === 2);
  await host.end();
});

test("the room is the file system's own numbers", async () => {
  const { freeBytes, totalBytes, inMemory } = await roomOf("/proc");
  assert.equal([freeBytes, totalBytes, inMemory], [0, 0, false]);
  const shm = await roomOf("/dev/shm");
  assert.ok(shm.inMemory && shm.totalBytes > 0);
});

test.run();

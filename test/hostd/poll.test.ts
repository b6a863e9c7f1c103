// Following the target: what becomes of a stream whose parts do not fit together. The client is a script of streams.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "#api/client.ts";
import type { HostTarget, HostTargetPart } from "#api/host-agents.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { pollTarget } from "../../hostd/poll.ts";
import { job, target } from "./jobs.ts";

type Part = HostTargetPart | HostTarget;

interface Rig {
  /** Seqs of the targets that hostd was given, with the ids of their jobs. */
  given: string[];
  /** Streams that were asked for, and those that were left. */
  opened: number;
  left: number;
}

/** Stream n gives what `script` says of it, then lasts until it is left or hostd ends. */
async function following(
  script: (n: number) => Part[],
  body: (rig: Rig) => Promise<void>,
  retry = { baseMs: 1, maxMs: 2 },
): Promise<void> {
  const stateDir = await mkdtemp(join(tmpdir(), "flynn-poll-"));
  const stop = new AbortController();
  const { signal } = stop;
  const rig: Rig = { given: [], opened: 0, left: 0 };
  async function* follow() {
    const n = ++rig.opened;
    try {
      for (const data of script(n)) yield { event: "item" as const, data };
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    } finally {
      rig.left++;
    }
  }
  const ended = pollTarget({
    client: { follow } as unknown as Pick<Client, "follow">,
    hostId: "host-1",
    stateDir,
    seen: undefined,
    onTarget: ({ seq, jobs }) => void rig.given.push(`${seq}: ${jobs.map(({ id }) => id).join(" ")}`),
    log: silentLog(),
    signal,
    retry,
  });
  try {
    await body(rig);
  } finally {
    stop.abort();
    await ended;
    await rm(stateDir, { recursive: true, force: true });
  }
  assert.is(rig.left, rig.opened, "no stream is left open");
}

const happens = (what: string, probe: () => unknown) => until(probe, { what, timeoutMs: 10_000, everyMs: 2 });
/** Of a target that the stream has not given. */
function partOf(seq: number): HostTargetPart {
  const { jobs: _, ...rest } = target([], { seq });
  return { ...rest, jobChanges: { put: [job({ id: "new" })], gone: [] } };
}

test("parts are put on what the same stream gave before", () =>
  following(
    () => [target([job()], { seq: 1 }), partOf(2)],
    async (rig) => {
      await happens("both targets", () => rig.given.length === 2);
      assert.equal(rig.given, ["1: j1", "2: j1 new"]);
      assert.is(rig.opened, 1);
    },
  ));

test("a part of what was never received ends its stream: the next one begins with the whole, and the host is not stale", () =>
  following(
    (n) => (n === 1 ? [partOf(4), partOf(5)] : [target([job()], { seq: 6 }), partOf(7)]),
    async (rig) => {
      await happens("the targets of the next stream", () => rig.given.length === 2);
      assert.equal(rig.given, ["6: j1", "7: j1 new"], "nothing more is taken from the first");
      assert.equal([rig.opened, rig.left], [2, 1]);
    },
  ));

test("a stream in the middle of which a part is missing is left too, with what it gave before forgotten", () => {
  // Its reach begins with changes: there is nothing yet that they are of.
  const reach = { version: 1 } as NonNullable<HostTargetPart["reach"]>;
  return following(
    (n) =>
      n === 1
        ? [target([job()], { seq: 1 }), { ...partOf(2), reach }]
        : n === 2
          ? [partOf(3)]
          : [target([], { seq: 4 })],
    async (rig) => {
      await happens("the whole", () => rig.given.length === 2);
      assert.equal(rig.given, ["1: j1", "4: "]);
      assert.equal([rig.opened, rig.left], [3, 2]);
    },
  );
});

test("while every stream begins in the middle it is tried again and again, and ends with hostd", () =>
  following(
    () => [partOf(1)],
    async (rig) => {
      await happens("ten streams", () => rig.opened >= 10);
      assert.equal(rig.given, []);
    },
  ));

test("control is not asked again at once, and hostd ends while it waits to", () =>
  following(
    () => [partOf(1)],
    async (rig) => {
      await happens("the first to be left", () => rig.left === 1);
      for (let turn = 0; turn < 20; turn++) await setImmediate();
      assert.is(rig.opened, 1);
    },
    { baseMs: 3_600_000, maxMs: 3_600_000 },
  ));

test("a target that is refused is no reason to leave its stream", () =>
  following(
    () => [target([], { seq: 5 }), target([], { seq: 4 }), target([], { seq: 6 })],
    async (rig) => {
      await happens("the last", () => rig.given.includes("6: "));
      assert.equal([rig.given, rig.opened], [["5: ", "6: "], 1]);
    },
  ));

test.run();

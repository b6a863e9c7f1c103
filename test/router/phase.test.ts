import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  after,
  FIRST,
  type Happening,
  isAwaited,
  nextStep,
  reasonOf,
  reloadInMs,
  type State,
  type Step,
} from "../../router/phase.ts";
import { OLD_WORKERS_MOST, type OldWorkers, type ReloadReason } from "../../router/reload.ts";

const clock = (nowMs: number) => ({ nowMs });
const state = (over: Partial<State>): State => ({ ...FIRST, why: "", ...over });
const few: OldWorkers = { count: 0, reloads: 0, replacedMs: 0 };
const many: OldWorkers = { count: OLD_WORKERS_MOST, reloads: 9, replacedMs: 0 };

for (const [what, over, step] of [
  ["HAProxy does not run", { phase: "down" }, "start"],
  ["it runs, and was not compared", { phase: "stale" }, "equalise"],
  ["it was given commands", { phase: "commanded" }, "verify"],
  ["it is as wanted", { phase: "equal" }, "count"],
  ["a reload is wanted and may be", { phase: "commanded", lacks: "all" }, "reload"],
  ["a reload is wanted and was made a moment ago", { phase: "commanded", lacks: "all", reloadedAtMs: 9_999 }, "count"],
  ["ports wait for a reload that is put off", { phase: "commanded", lacks: "ports", old: many }, "verify"],
  ["all is done", { phase: "settled" }, "rest"],
] as const)
  test(`where ${what} the next step is to ${step}`, () => assert.is(nextStep(state(over), clock(10_000)), step));

test("what waits for a reload that everybody waits for is not said to be served; what waits for ports only is", () => {
  const goal = { term: 1, generation: 7 };
  const counted = (over: Partial<State>) => after(state({ phase: "equal", ...over }), { kind: "counted", goal }).served;
  assert.equal(counted({}), goal);
  assert.equal(counted({ lacks: "all" }), FIRST.served);
  assert.equal(counted({ lacks: "ports" }), FIRST.served);
  assert.equal(counted({ lacks: "ports", old: many }), goal);
});

test("a reload that is put off is said, one that is due is not", () => {
  assert.is(reasonOf(state({ lacks: "all", old: few }), clock(0)), "");
  assert.match(
    reasonOf(state({ lacks: "all", old: many }), clock(0)),
    /^what is new is served within 10 minutes: 8 earlier reloads/,
  );
  assert.is(reasonOf(state({ lacks: "all", old: many, why: "no disk" }), clock(0)), "no disk");
});

/** A HAProxy that does what it is asked or fails, ends when it likes, and is looked at by the machine alone. */
interface World {
  runs: boolean;
  /** Generation of the configuration and commands that it has, and whether that was read back. */
  has: number;
  isSeen: boolean;
}
interface Outcome {
  fails: boolean;
  ends: boolean;
  lacks: ReloadReason | undefined;
  old: OldWorkers;
  isProven: boolean;
  passedMs: number;
}
const outcome: fc.Arbitrary<Outcome> = fc.record({
  fails: fc.boolean(),
  ends: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  lacks: fc.constantFrom(undefined, undefined, "ports" as const, "all" as const),
  old: fc.constantFrom(few, few, many),
  isProven: fc.boolean(),
  passedMs: fc.integer({ min: 0, max: 3_000 }),
});

function act(step: Exclude<Step, "rest">, world: World, goal: number, to: Outcome, nowMs: number): Happening[] {
  if (to.ends) world.runs = false;
  const begin: Happening[] = step === "reload" ? [{ kind: "reloading", atMs: nowMs }] : [];
  if (to.fails || (!world.runs && step !== "start")) return [...begin, { kind: "failed", why: `${step} failed` }];
  if (step === "start") {
    Object.assign(world, { runs: true, has: goal, isSeen: false });
    return [{ kind: "started" }];
  }
  if (step === "equalise") {
    const isProven = to.isProven && to.lacks === undefined;
    Object.assign(world, { has: to.lacks === "all" ? world.has : goal, isSeen: isProven });
    return [{ kind: "equalised", lacks: to.lacks, old: to.old, isProven }];
  }
  if (step === "reload") {
    Object.assign(world, { has: goal, isSeen: false });
    return [...begin, { kind: "reloaded" }];
  }
  if (step === "verify") {
    world.isSeen = true;
    return [{ kind: "verified" }];
  }
  return [{ kind: "counted", goal: { term: 1, generation: goal } }];
}

test("whatever fails, ends or comes at any step: turns are short, begin by looking, reload in their time, and say only what was seen", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.boolean(), fc.array(outcome, { minLength: 8, maxLength: 8 })), { maxLength: 12 }),
      (turns) => {
        let now = FIRST;
        let nowMs = 0;
        let goal = 1;
        const world: World = { runs: false, has: 0, isSeen: false };
        for (const [isNew, outcomes] of turns) {
          if (isNew) goal++;
          now = after(now, { kind: world.runs ? "woken" : "ended" });
          let failed = false;
          let isFirst = true;
          for (const to of outcomes) {
            const step = nextStep(now, clock(nowMs));
            if (isFirst) assert.is(step, world.runs ? "equalise" : "start");
            isFirst = false;
            if (step === "rest") break;
            if (step === "reload") assert.ok(now.lacks !== undefined && reloadInMs(now, clock(nowMs)) === 0);
            if (step === "verify") assert.not(isAwaited(now));
            const before = now;
            for (const happening of act(step, world, goal, to, nowMs)) now = after(now, happening);
            nowMs += to.passedMs;
            if (now.served !== before.served) {
              assert.is(step, "count");
              assert.is(now.served.generation, goal);
              assert.ok(world.isSeen && world.has === goal, "it was read back");
            }
            failed = now.failures > before.failures;
            if (failed) {
              assert.is(now.why, `${step} failed`);
              assert.ok(now.phase === "down" || now.phase === "stale");
              break;
            }
          }
          assert.ok(failed || now.phase === "settled", "a turn ends within eight steps");
          assert.is(now.why === "", !failed, "healthy after a turn that went well, and no other");
          assert.is(now.failures > 0, failed);
        }
      },
    ),
    { numRuns: 2_000 },
  );
});

test.run();

// What a rollout does next, rule by rule; and that it ends, with never more machines down than may be, whatever becomes of them.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  nextStep,
  type Progress,
  type RolloutMachineView,
  type Seen,
  unavailable,
} from "../../../control/rollouts/step.ts";

const well: Seen = {
  gone: false,
  ready: true,
  drained: false,
  imageId: "old",
  bootedAnew: false,
  sinceMs: 0,
};
type State = RolloutMachineView["state"];
const machine = (n: number, state: State, seen: Partial<Seen> = {}, stage = 0): RolloutMachineView => ({
  id: `m${n}`,
  name: `node-${n}`,
  stage,
  state,
  fromImageId: "old",
  seen: { ...well, ...seen },
});
const progress = (machines: RolloutMachineView[], over: Partial<Progress> = {}): Progress => ({
  state: "running",
  imageId: "new",
  stage: 0,
  stages: 1,
  maxUnavailable: 1,
  machines,
  gateLeftMs: 0,
  gateSinceMs: 0,
  gateMostMs: 1_000,
  drainMostMs: 1_000,
  bootMostMs: 1_000,
  ...over,
});
const back = { state: "going-back", goingBack: { reason: "why", to: "failed" } } as const;
const newOne = { imageId: "new", bootedAnew: true };

const TABLE: [claim: string, Progress, type: string, words?: RegExp][] = [
  ["the first is drained", progress([machine(1, "waiting"), machine(2, "waiting")]), "drain m1"],
  ["one at a time", progress([machine(1, "draining"), machine(2, "waiting")]), "wait", /waits for node-1/],
  [
    "two where two may be down",
    progress([machine(1, "draining"), machine(2, "waiting")], { maxUnavailable: 2 }),
    "drain m2",
  ],
  [
    "one that came back and is lost counts as down",
    progress([machine(1, "ready", { ready: false }), machine(2, "waiting")]),
    "wait",
    /node-1 to be well/,
  ],
  [
    "and is not waited for for ever",
    progress([machine(1, "ready", { ready: false }), machine(2, "waiting")], { gateSinceMs: 2_000 }),
    "turn-back",
    /did not get well/,
  ],
  [
    "drained, it boots the image",
    progress([machine(1, "draining", { drained: true })]),
    "reboot m1",
    /told to boot new/,
  ],
  [
    "jobs that do not leave end it",
    progress([machine(1, "draining", { sinceMs: 2_000 })]),
    "turn-back",
    /node-1: its jobs did not move/,
  ],
  [
    "a host that is silent for a moment meanwhile is waited for",
    progress([machine(1, "draining", { ready: false, sinceMs: 500 })]),
    "wait",
  ],
  [
    "and not told to reboot before it is heard again",
    progress([machine(1, "draining", { ready: false, drained: true, sinceMs: 500 })]),
    "wait",
  ],
  [
    "one that stays lost ends it",
    progress([machine(1, "draining", { ready: false, drained: true, sinceMs: 10_000_000 })]),
    "turn-back",
    /lost while/,
  ],
  ["before it went down it is not back", progress([machine(1, "rebooting")]), "wait"],
  ["ready with the image of a new boot it takes jobs again", progress([machine(1, "rebooting", newOne)]), "arrive m1"],
  [
    "a new boot of the old image is not what was asked for",
    progress([machine(1, "rebooting", { bootedAnew: true })]),
    "turn-back",
    /came back with old/,
  ],
  [
    "one that refuses in the initrd ends it at once",
    progress([machine(1, "rebooting", { ready: false, refused: "its initrd refused" })]),
    "turn-back",
    /node-1: its initrd refused/,
  ],
  [
    "one that never comes back too, in the end",
    progress([machine(1, "rebooting", { ready: false, sinceMs: 2_000 })]),
    "turn-back",
    /did not come back/,
  ],
  [
    "where its BMC can, it is switched off and on before that",
    progress([machine(1, "rebooting", { ready: false, sinceMs: 2_000, mayCycle: true })]),
    "cycle m1",
    /its BMC switches it off and on, once/,
  ],
  [
    "on its way back too",
    progress([machine(1, "back-rebooting", { ready: false, sinceMs: 2_000, mayCycle: true })], back),
    "cycle m1",
  ],
  [
    "a stage is well for a while before the next",
    progress([machine(1, "ready", newOne), machine(2, "waiting", {}, 1)], { stages: 2, gateLeftMs: 5 }),
    "wait",
    /so far/,
  ],
  [
    "then the next begins",
    progress([machine(1, "ready", newOne), machine(2, "waiting", {}, 1)], { stages: 2 }),
    "stage",
  ],
  ["after the last it is done", progress([machine(1, "ready", newOne)]), "end done"],
  ["with nobody to take it, too", progress([], { stages: 0 }), "end done"],
  [
    "a job that keeps crashing ends it",
    progress([machine(1, "ready", newOne)], { broken: "web crashes" }),
    "turn-back",
    /web crashes/,
  ],
  [
    "a job that is not well holds it up",
    progress([machine(1, "ready", newOne), machine(2, "waiting")], { unwell: "web starts" }),
    "wait",
    /web starts/,
  ],
  [
    "and ends it when it stays so",
    progress([machine(1, "ready", newOne)], { unwell: "web starts", gateSinceMs: 2_000 }),
    "turn-back",
    /web starts/,
  ],
  ["paused it begins nothing", progress([machine(1, "waiting")], { state: "paused" }), "wait", /^paused$/],
  [
    "paused it ends what it began",
    progress([machine(1, "draining", { drained: true })], { state: "paused" }),
    "reboot m1",
  ],
  [
    "paused it goes back all the same when that fails",
    progress([machine(1, "rebooting", { refused: "no" })], { state: "paused" }),
    "turn-back",
  ],
  [
    "one that no agent could be told to reboot is left for its next boot",
    progress([machine(1, "waiting", { cannot: "its agent is too old" })]),
    "skip m1",
  ],
  [
    "a host that is lost is waited for",
    progress([machine(1, "waiting", { ready: false, away: { why: "its host is lost", sinceMs: 900 } })]),
    "wait",
    /waits for node-1: its host is lost/,
  ],
  [
    "the others are taken meanwhile",
    progress([
      machine(1, "waiting", { ready: false, away: { why: "its host is lost", sinceMs: 2_000 } }),
      machine(2, "waiting"),
    ]),
    "drain m2",
  ],
  [
    "lost for longer than a gate may take it is left for its next boot",
    progress([machine(1, "waiting", { ready: false, away: { why: "its host is lost", sinceMs: 2_000 } })]),
    "skip m1",
    /lost; it boots the image when it boots next/,
  ],
  [
    "with more than half of a stage skipped it goes back, and says how many have proven the image",
    progress([machine(1, "ready", newOne), machine(2, "skipped", {}, 1), machine(3, "skipped", {}, 1)], {
      ...{ stage: 1, stages: 2 },
    }),
    "turn-back",
    /2 of the stage's 2 machines were skipped \(node-2, node-3\); 1 of all 3 proved the image/,
  ],
  ["that no machine has booted the image is no end", progress([machine(1, "skipped")]), "turn-back", /; 0 of all 1/],
  ["half of it is enough", progress([machine(1, "ready", newOne), machine(2, "skipped")]), "end done"],
  [
    "machines that were removed do not count",
    progress([
      machine(1, "ready", newOne),
      machine(2, "skipped", { gone: true }),
      machine(3, "skipped", { gone: true }),
    ]),
    "end done",
  ],
  [
    "one that is drained is not told to reboot while an order to it is open",
    progress([machine(1, "draining", { drained: true, busy: "a wipe", sinceMs: 2_000 })]),
    "wait",
  ],
  [
    "back: nor on the way back",
    progress([machine(1, "rebooting", { busy: "a wipe" }), machine(2, "back-draining", { busy: "a wipe" })], back),
    "wait",
    /waits for node-1, node-2/,
  ],
  [
    "one that a person orders about is waited for",
    progress([machine(1, "waiting", { busy: "an order" })]),
    "wait",
    /an order/,
  ],
  [
    "one that was removed is left out, whatever it was at",
    progress([machine(1, "rebooting", { gone: true })]),
    "skip m1",
  ],
  ["back: what only lost its jobs gets them again", progress([machine(1, "draining")], back), "back m1"],
  [
    "back: what boots is to boot what it had",
    progress([machine(1, "rebooting", { ready: false })], back),
    "reboot-back m1",
  ],
  [
    "back: what is well is drained first, the last one first",
    progress([machine(1, "ready", newOne), machine(2, "ready", newOne)], back),
    "drain-back m2",
  ],
  ["back: one at a time", progress([machine(1, "ready", newOne), machine(2, "back-draining", newOne)], back), "wait"],
  [
    "back: drained it boots",
    progress([machine(1, "back-draining", { drained: true, ...newOne })], back),
    "reboot-back m1",
  ],
  [
    "back: jobs that do not leave do not keep it",
    progress([machine(1, "back-draining", { sinceMs: 2_000, ...newOne })], back),
    "reboot-back m1",
  ],
  ["back: ready with what it had", progress([machine(1, "back-rebooting", { bootedAnew: true })], back), "back m1"],
  ["back: still ready with the new one it is not back", progress([machine(1, "back-rebooting", newOne)], back), "wait"],
  [
    "back: one that never went down is back after a while",
    progress([machine(1, "back-rebooting", { sinceMs: 40_000 })], { ...back, bootMostMs: 60_000 }),
    "back m1",
  ],
  [
    "back: one that does not come is said to be stuck",
    progress([machine(1, "back-rebooting", { ready: false, sinceMs: 2_000 })], back),
    "stuck m1",
    /switch it off and on/,
  ],
  ["back: with all back it has failed", progress([machine(1, "back"), machine(2, "waiting")], back), "end failed"],
  [
    "back: called off it is cancelled",
    progress([machine(1, "waiting")], { ...back, goingBack: { reason: "ann", to: "cancelled" } }),
    "end cancelled",
  ],
];

for (const [claim, at, expected, words] of TABLE)
  test(claim, () => {
    const step = nextStep(at);
    const name =
      step.type === "end" ? `end ${step.state}` : "machineId" in step ? `${step.type} ${step.machineId}` : step.type;
    assert.is(name, expected, JSON.stringify(step));
    const said = "words" in step ? step.words : step.reason;
    if (words) assert.match(said, words);
  });

/** What becomes of a machine that boots the image. */
type Fate = "well" | "refuses" | "never" | "crashes" | "old" | "stuck" | "jobs stay" | "removed";
const FATES: Fate[] = [
  "well",
  "well",
  "well",
  "well",
  "refuses",
  "never",
  "crashes",
  "old",
  "stuck",
  "jobs stay",
  "removed",
];

/** A world of machines, each with its fate, driven by the rule alone. Returns how it ended. */
function played(fates: Fate[], stages: number[], most: number, cancelAt: number) {
  const all = fates.map((fate, n) => ({
    fate,
    image: "old",
    up: true,
    ...machine(
      n,
      "waiting",
      {},
      stages.findIndex((end) => n < end),
    ),
  }));
  let state: Progress["state"] = "running";
  let goingBack: Progress["goingBack"];
  let stage = 0;
  let waits = 0;
  for (let turn = 0; turn < 5_000; turn++) {
    if (turn === cancelAt && state === "running") [state, goingBack] = ["going-back", { reason: "", to: "cancelled" }];
    const crashing = all.find(({ state: at, fate, image }) => at === "ready" && fate === "crashes" && image === "new");
    const patience = waits > 3 ? 2_000 : 0;
    const machines = all.map(({ fate: _, image, up, ...one }) => ({
      ...one,
      seen: { ...one.seen, imageId: image, ready: up, sinceMs: patience },
    }));
    const step = nextStep(
      progress(machines, {
        ...{ state, stage, stages: stages.length, maxUnavailable: most },
        ...(goingBack ? { goingBack } : {}),
        broken: crashing && `web crashes on ${crashing.name}`,
        gateSinceMs: patience,
      }),
    );
    const down = all.filter(({ state: at }) => /draining|rebooting/.test(at)).length;
    assert.ok(down <= most, `${down} down, ${most} may be`);
    if (step.type === "drain") assert.ok(unavailable(machines) < most);
    waits = step.type === "wait" ? waits + 1 : 0;
    if (step.type === "end") return { state: step.state, all };
    if (step.type === "turn-back") [state, goingBack] = ["going-back", { reason: step.reason, to: step.to }];
    if (step.type === "stage") stage = step.stage;
    if (!("machineId" in step)) continue;
    const one = all.find(({ id }) => id === step.machineId)!;
    const boots = (image: string): void => {
      const fails = image === "new" && (one.fate === "refuses" || one.fate === "never" || one.fate === "stuck");
      const hangs = image === "old" && one.fate === "stuck";
      if (image === "old" && one.image === "old" && one.up) return; // it never went down
      one.up = !fails && !hangs;
      if (one.up) one.image = one.fate === "old" ? "old" : image;
      one.seen = {
        ...one.seen,
        bootedAnew: one.up,
        ...(fails && one.fate === "refuses" ? { refused: "its initrd refused" } : { refused: undefined }),
      };
    };
    const next: Partial<Record<typeof step.type, State>> = {
      drain: "draining",
      reboot: "rebooting",
      arrive: "ready",
      back: "back",
      "drain-back": "back-draining",
      "reboot-back": "back-rebooting",
      skip: "skipped",
      stuck: "stuck",
    };
    one.state = next[step.type]!;
    one.seen = { ...one.seen, drained: step.type.startsWith("drain") && one.fate !== "jobs stay", bootedAnew: false };
    if (step.type === "reboot") boots("new");
    if (step.type === "reboot-back") boots("old");
    if (step.type === "drain" && one.fate === "removed") one.seen = { ...one.seen, gone: true };
  }
  throw new Error(`it did not end: ${JSON.stringify(all.map(({ state: at, fate }) => [at, fate]))}`);
}

test("whatever becomes of machines, it ends; all have the new image or none that could go back has", () => {
  const stagesOf = (count: number, cuts: number[]) =>
    [...new Set([...cuts.map((cut) => Math.min(cut, count)), count])].sort((a, b) => a - b);
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...FATES), { minLength: 1, maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 8 }), { maxLength: 2 }),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 0, max: 60 }),
      (fates, cuts, most, cancelAt) => {
        const { state, all } = played(fates, stagesOf(fates.length, cuts), most, cancelAt);
        if (state === "done")
          assert.ok(all.every(({ state: at, image }) => (at === "ready" && image === "new") || at === "skipped"));
        else
          assert.ok(
            all.every(
              ({ state: at, image, fate }) =>
                image === "old" || at === "stuck" || at === "skipped" || fate === "removed",
            ),
            JSON.stringify(all.map(({ state: at, fate, image }) => [at, fate, image])),
          );
      },
    ),
    { numRuns: 500 },
  );
});

test("an image that one machine of fifty has proven is not made current because nobody was heard for a moment", () => {
  const away = { why: "its host is lost", sinceMs: 500 };
  const all = [machine(0, "ready", newOne), ...Array.from({ length: 49 }, (_, n) => machine(n + 1, "waiting", {}, 1))];
  const unheard = all.map((one) => ({ ...one, seen: { ...one.seen, ready: false, away } }));
  const at = { stage: 1, stages: 2 };
  assert.is(nextStep(progress(unheard, { ...at, gateLeftMs: Number.POSITIVE_INFINITY })).type, "wait");
  assert.is(nextStep(progress(all, at)).type, "drain");
});

test("a broken image never gets past its first machine", () => {
  const { state, all } = played(["never", "well", "well", "well"], [1, 4], 1, 10_000);
  assert.is(state, "failed");
  assert.equal(
    all.map(({ state: at, image }) => [at, image]),
    [
      ["back", "old"],
      ["waiting", "old"],
      ["waiting", "old"],
      ["waiting", "old"],
    ],
  );
});

test.run();

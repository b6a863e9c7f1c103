// What a rollout does next. Pure: from its records and from what is seen of its machines, so it goes on after a restart of control as if
// nothing had been. One thing at a time: each step is one commit, and the next look sees what it did.
import type { RolloutMachineState, RolloutState } from "#api/rollouts.ts";

/** What is seen of a machine now. */
export interface Seen {
  /** It is no host of the cluster any more, or no machine. */
  gone: boolean;
  /** Its host reports, and its engine works. */
  ready: boolean;
  /** No job is on its host, and none is on its way there. */
  drained: boolean;
  /** The image of the boot that it is ready with. */
  imageId: string | undefined;
  /** A boot after the one that it was told to end has joined. */
  bootedAnew: boolean;
  /** Its boots came to nothing, or its initrd said no: why. */
  refused?: string | undefined;
  /** Why it cannot be told to boot anew; undefined while that is not known. */
  cannot?: string | undefined;
  /** Its host is not well just now, and may be heard again: why, and for how long, in milliseconds. */
  away?: { why: string; sinceMs: number } | undefined;
  /** Something else is done to it: an order of a person. */
  busy?: string | undefined;
  /** Its BMC can switch it off and on, and did not yet in the state it is in. */
  mayCycle?: boolean;
  /** Milliseconds in the state it is in. */
  sinceMs: number;
}

export interface RolloutMachineView {
  id: string;
  name: string;
  stage: number;
  state: RolloutMachineState;
  /** What it boots when it goes back. */
  fromImageId: string | undefined;
  seen: Seen;
}

export interface Progress {
  state: RolloutState;
  imageId: string;
  stage: number;
  stages: number;
  maxUnavailable: number;
  /** Why it goes back, and what it is then. */
  goingBack?: { reason: string; to: "failed" | "cancelled" };
  /** In the order they are taken. */
  machines: readonly RolloutMachineView[];
  /** What of the apps speaks against going on: for good. */
  broken?: string | undefined;
  /** The same, of what may yet get well: nothing further is begun meanwhile. */
  unwell?: string | undefined;
  /** Milliseconds that all there is in this stage must still be well. */
  gateLeftMs: number;
  /** Milliseconds since the stage's last machine came, and the longest it may take to be well for long enough. */
  gateSinceMs: number;
  gateMostMs: number;
  drainMostMs: number;
  bootMostMs: number;
}

export type Step =
  | { type: "wait"; words: string }
  | { type: "drain" | "reboot" | "arrive" | "back" | "drain-back" | "reboot-back"; machineId: string; words: string }
  | { type: "skip" | "stuck" | "cycle"; machineId: string; words: string }
  | { type: "stage"; stage: number; words: string }
  | { type: "turn-back"; reason: string; to: "failed" | "cancelled" }
  | { type: "end"; state: "done" | "failed" | "cancelled"; reason: string };

/** A machine whose agent was told to reboot, and is still heard, may be on its way down. */
const SETTLED_MS = 30_000;

const DOWN: ReadonlySet<RolloutMachineState> = new Set(["draining", "rebooting", "back-draining", "back-rebooting"]);

/** Their next step on the way back is a reboot. */
const REBOOTS_NEXT: ReadonlySet<RolloutMachineState> = new Set(["rebooting", "back-draining"]);

/** Nothing more comes of them in this rollout. */
const OVER: ReadonlySet<RolloutMachineState> = new Set(["skipped", "back", "stuck"]);

/** Machines that are down by what the rollout did: on their way, or back and not well. */
export const unavailable = (machines: readonly Pick<RolloutMachineView, "state" | "seen">[]): number =>
  machines.filter(({ state, seen }) => DOWN.has(state) || ((state === "ready" || state === "back") && !seen.ready))
    .length;

export function nextStep(progress: Progress): Step {
  const gone = progress.machines.find(({ state, seen }) => seen.gone && !OVER.has(state));
  if (gone !== undefined) return { type: "skip", machineId: gone.id, words: "it was removed" };
  return progress.state === "going-back" ? backward(progress) : forward(progress);
}

function forward(progress: Progress): Step {
  const { machines, stage, stages, state, maxUnavailable, broken, unwell } = progress;
  const fail = (reason: string): Step => ({ type: "turn-back", reason, to: "failed" });
  if (broken !== undefined) return fail(broken);
  for (const machine of machines) {
    const step = onTheWay(machine, progress);
    if (step !== undefined) return step;
  }
  const waiting = machines.filter((each) => each.stage <= stage && each.state === "waiting");
  const down = unavailable(machines);
  const under = machines.filter(({ state: each }) => DOWN.has(each)).map(({ name }) => name);
  const words = (text: string): Step => ({ type: "wait", words: text });
  if (state === "paused") return words(under.length > 0 ? `paused; still on their way: ${named(under)}` : "paused");
  const never = waiting.find(({ seen }) => seen.cannot !== undefined);
  if (never !== undefined) return { type: "skip", machineId: never.id, words: never.seen.cannot! };
  const next = waiting.find(({ seen }) => seen.away === undefined);
  if (next !== undefined) {
    if (unwell !== undefined) return bounded(progress, unwell);
    if (down >= maxUnavailable)
      return under.length > 0 ? words(`waits for ${named(under)}`) : bounded(progress, notWell(machines));
    if (next.seen.busy !== undefined) return words(`${next.name} waits: ${next.seen.busy}`);
    return { type: "drain", machineId: next.id, words: "its jobs move elsewhere" };
  }
  if (under.length > 0) return words(`waits for ${named(under)}`);
  const [away] = waiting;
  if (away !== undefined) return awaited(away, progress);
  const few = tooFew(progress);
  if (few !== undefined) return fail(few);
  if (down > 0) return bounded(progress, notWell(machines));
  if (unwell !== undefined) return bounded(progress, unwell);
  if (progress.gateLeftMs > 0) return words("all is well so far, and has to stay so for a while");
  if (stage + 1 < stages) return { type: "stage", stage: stage + 1, words: "the next stage begins" };
  return { type: "end", state: "done", reason: "" };
}

/** A host that is lost for a moment says nothing of the machine: the others are taken first, and it is waited for as long as a gate is. */
function awaited({ id, name, seen }: RolloutMachineView, { gateMostMs }: Progress): Step {
  const { why, sinceMs } = seen.away!;
  return sinceMs <= gateMostMs
    ? { type: "wait", words: `waits for ${name}: ${why}` }
    : { type: "skip", machineId: id, words: `${why}; it boots the image when it boots next` };
}

/** A stage of which more than half was skipped has proven nothing. Machines that were removed do not count. */
function tooFew({ machines, stage }: Progress): string | undefined {
  const all = machines.filter((each) => each.stage === stage && !each.seen.gone);
  const skipped = all.filter(({ state }) => state === "skipped");
  if (skipped.length * 2 <= all.length) return undefined;
  const proven = machines.filter(({ state }) => state === "ready").length;
  return `${skipped.length} of the stage's ${all.length} machines were skipped (${named(skipped.map(({ name }) => name))}); ${proven} of all ${machines.length} proved the image`;
}

/** What is not well is waited for, and not for ever. */
function bounded({ gateSinceMs, gateMostMs }: Progress, words: string): Step {
  return gateSinceMs <= gateMostMs
    ? { type: "wait", words }
    : { type: "turn-back", reason: `it did not get well: ${words}`, to: "failed" };
}

/** One that was begun: its own next step, the end of the whole, or nothing yet. */
function onTheWay({ id, name, state, seen }: RolloutMachineView, progress: Progress): Step | undefined {
  const { imageId, drainMostMs, bootMostMs } = progress;
  const fail = (reason: string): Step => ({ type: "turn-back", reason: `${name}: ${reason}`, to: "failed" });
  if (state === "draining") {
    if (seen.ready && seen.drained)
      return seen.busy === undefined ? { type: "reboot", machineId: id, words: `told to boot ${imageId}` } : undefined; // such as a wipe: an order ends by itself
    if (seen.sinceMs <= drainMostMs) return undefined; // one that is silent for a moment comes back
    return fail(
      seen.ready ? "its jobs did not move elsewhere in time" : "its host was lost while its jobs moved elsewhere",
    );
  }
  if (state !== "rebooting") return undefined;
  if (seen.refused !== undefined) return fail(seen.refused);
  if (seen.ready && seen.bootedAnew)
    return seen.imageId === imageId
      ? { type: "arrive", machineId: id, words: `ready with ${imageId}` }
      : fail(`it came back with ${seen.imageId ?? "another image"}`);
  if (seen.sinceMs <= bootMostMs) return undefined;
  return seen.mayCycle ? cycled(id) : fail("it did not come back in time");
}

const cycled = (machineId: string): Step => ({
  type: "cycle",
  machineId,
  words: "it did not come back in time: its BMC switches it off and on, once",
});

function backward(progress: Progress): Step {
  const { machines, maxUnavailable, drainMostMs, bootMostMs, goingBack } = progress;
  const under = machines.filter(({ state }) => DOWN.has(state));
  for (const machine of under) {
    const { id: machineId, state, seen, fromImageId, name } = machine;
    const from = fromImageId ?? "what it booted before";
    if (seen.busy !== undefined && REBOOTS_NEXT.has(state)) continue; // an order ends by itself
    if (state === "draining") return { type: "back", machineId, words: "keeps what it has" };
    if (state === "rebooting") return { type: "reboot-back", machineId, words: `is to boot ${from} again` };
    if (state === "back-draining") {
      // It goes back whatever its jobs do: what it runs is what failed.
      if (seen.drained || seen.sinceMs > drainMostMs || !seen.ready)
        return { type: "reboot-back", machineId, words: `told to boot ${from} again` };
      continue;
    }
    const isBack = seen.ready && (fromImageId === undefined || seen.imageId === fromImageId);
    if (isBack && (seen.bootedAnew || seen.sinceMs > SETTLED_MS))
      return { type: "back", machineId, words: `ready with ${from}` };
    if (seen.refused !== undefined && seen.sinceMs > SETTLED_MS)
      return {
        type: "stuck",
        machineId,
        words: `${seen.refused}; when the cause is gone: flynn machine approve ${name}`,
      };
    if (seen.sinceMs > bootMostMs && seen.mayCycle) return cycled(machineId);
    if (seen.sinceMs > bootMostMs)
      return {
        type: "stuck",
        machineId,
        words: `it did not come back in time; switch it off and on, and it boots ${from}`,
      };
  }
  const next = machines.findLast(({ state }) => state === "ready");
  if (next !== undefined) {
    if (under.length < maxUnavailable)
      return { type: "drain-back", machineId: next.id, words: "its jobs move elsewhere before it goes back" };
    return { type: "wait", words: `goes back; waits for ${named(under.map(({ name }) => name))}` };
  }
  if (under.length > 0) return { type: "wait", words: `goes back; waits for ${named(under.map(({ name }) => name))}` };
  const { reason, to } = goingBack ?? { reason: "", to: "failed" };
  return { type: "end", state: to, reason };
}

const notWell = (machines: readonly RolloutMachineView[]): string =>
  `waits for ${named(machines.filter(({ state, seen }) => state === "ready" && !seen.ready).map(({ name }) => name))} to be well`;

const named = (names: readonly string[]): string =>
  names.length > 4 ? `${names.slice(0, 4).join(", ")} and ${names.length - 4} more` : names.join(", ");

// time limit: 120 s
// The way back of a deployment, as a property: whatever fails, whenever it is called off, and wherever control dies and reads its state
// anew, no job that serves is ended unless as many serve on as the strategy promises; and it ends, in words. The rules and what they
// write are the real ones; hosts and routers are a model with a clock of its own.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { App, Formation } from "#api/apps.ts";
import { hasEnded } from "#api/deployments.ts";
import type { Job } from "#api/jobs.ts";
import { beginning, type Turn } from "../../../control/deploy/changes.ts";
import { deploymentClocks } from "../../../control/deploy/clocks.ts";
import type { KeptFormation, StoreView } from "../../../control/deploy/formations.ts";
import { ending, hasNoWayBack, turningBack } from "../../../control/deploy/going-back.ts";
import { progressOf, turnOf } from "../../../control/deploy/look.ts";
import type { DeploymentRecord } from "../../../control/deploy/record.ts";
import { nextStep } from "../../../control/deploy/step.ts";
import type { Counts } from "../../../control/deploy/strategy.ts";
import { keys } from "../../../control/keys.ts";
import { chooseSurplus } from "../../../control/scheduler/diff.ts";
import type { Entry } from "../../../control/store/entry.ts";
import type { Change } from "../../../control/store/store.ts";

const APP = "app";
const AT = new Date("2026-01-01T00:00:00Z");
const DEPLOYMENT = keys.deployment(APP, "d");

/** State as the store keeps it: every change at once or none, read by key and by prefix. */
class Records implements StoreView {
  seq = 0;
  #entries = new Map<string, Entry<unknown>>();
  get = <T>(key: string) => this.#entries.get(key) as Entry<T> | undefined;
  list = <T>(prefix: string) =>
    [...this.#entries.values()]
      .filter(({ key }) => key.startsWith(prefix))
      .sort((a, b) => (a.key < b.key ? -1 : 1)) as Entry<T>[];
  write(changes: readonly Change[]): void {
    this.seq++;
    for (const { key, value } of structuredClone(changes)) {
      if (value === null) this.#entries.delete(key);
      else this.#entries.set(key, { key, value, version: this.seq });
    }
  }
  saved(): () => void {
    const before = new Map(this.#entries);
    return () => {
      this.#entries = before;
    };
  }
}

interface Plan {
  strategy: App["strategy"];
  before: Counts;
  wanted: Counts;
  /** Of each process so many of the earlier release's jobs never come up, as was so before. */
  sick: number;
  /** The release before this one that could not be gone back from: what it left serving. */
  leftover: Counts;
  /** At this look what the new release has, all of it or one, crashes for good, or never comes up, or the routers fall silent. */
  fault: "none" | "one crashes" | "all crash" | "starts no more" | "routers silent";
  faultAt: number;
  cancelAt: number;
  /** Looks at which control dies, and whether what it wrote last was lost with it. */
  kills: { at: number; lost: boolean }[];
  /** On the way back the earlier release does not come up any more. */
  backFails: boolean;
}

interface Outcome {
  deployment: DeploymentRecord;
  records: Records;
  jobs: Job[];
}

function play(plan: Plan): Outcome {
  const { strategy, before, wanted, leftover } = plan;
  const records = new Records();
  let nowMs = 0;
  let made = 0;
  let jobs: Job[] = [];
  let silent = false;
  const faults = new Set<Plan["fault"]>();
  const app: App = { id: APP, name: "hello", releaseId: "r2", strategy, deployTimeoutMs: 1_000, createdAt: "" };
  const formation = (releaseId: string, counts: Counts): Change => ({
    key: keys.formation(APP, releaseId),
    value: {
      appId: APP,
      releaseId,
      processes: Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, { count, tags: {} }])),
    },
  });
  const release = (version: number, counts: Counts): Change => ({
    key: keys.release(APP, `r${version}`),
    value: {
      id: `r${version}`,
      version,
      processes: Object.fromEntries(Object.keys(counts).map((name) => [name, { port: 80 }])),
    },
  });
  const there = Object.values(leftover).some((count) => count > 0);
  records.write([
    { key: keys.app(APP), value: app },
    ...[release(1, leftover), release(2, before), release(3, wanted), formation("r2", before)],
    ...(there ? [formation("r1", leftover)] : []),
    {
      key: DEPLOYMENT,
      value: {
        ...{
          id: "d",
          appId: APP,
          toReleaseId: "r3",
          toVersion: 3,
          strategy,
          state: "pending",
          step: "",
          reason: "",
          logTail: [],
          before: {},
          createdAt: "",
        },
        processes: Object.fromEntries(
          Object.entries(wanted).map(([name, count]) => [name, { wanted: count, healthy: 0, oldLeft: 0 }]),
        ),
      },
    },
  ]);
  const read = () => records.get<DeploymentRecord>(DEPLOYMENT)!;
  const isHealthy = ({ state, desired }: Job) => state === "up" && desired === "run";
  const isKept = ({ desired, state, releaseId, process }: Job): boolean =>
    desired === "drain" &&
    state === "up" &&
    records.get<KeptFormation>(keys.formation(APP, releaseId))?.value.kept?.[process] !== undefined;
  const healthy = (process: string) => jobs.filter((job) => job.process === process && isHealthy(job)).length;

  /** What the scheduler and the hosts make of the formations. */
  const converge = (): void => {
    jobs = jobs.filter((job) => job.desired === "run" || isKept(job));
    const wants = new Map<string, number>();
    for (const { value } of records.list<Formation>(keys.formationsOf(APP)))
      for (const [process, { count }] of Object.entries(value.processes))
        wants.set(`${value.releaseId}/${process}`, count);
    for (const name of new Set([...wants.keys(), ...jobs.map((job) => `${job.releaseId}/${job.process}`)])) {
      const [releaseId = "", process = ""] = name.split("/");
      const all = jobs.filter((job) => job.releaseId === releaseId && job.process === process);
      const count = wants.get(name) ?? 0;
      const missing = count - all.filter(({ desired }) => desired === "run").length;
      for (const job of all.filter(isKept).slice(0, Math.max(0, missing))) job.desired = "run";
      const mine = all.filter(({ desired }) => desired === "run");
      const gone = chooseSurplus(mine, Math.max(0, mine.length - count));
      const serving = gone.filter(isHealthy).length;
      if (serving > 0) {
        const left = healthy(process) - serving;
        const least = promised(process);
        assert.ok(left >= least, `${process}: ${left} serve on when ${name} goes to ${count}, ${least} are promised`);
      }
      for (const job of gone) job.desired = isHealthy(job) && job.port !== undefined ? "drain" : "stop";
      for (let n = mine.length; n < count; n++)
        jobs.push({
          ...{
            id: `job-${++made}`,
            appId: APP,
            app: "hello",
            releaseId,
            version: Number(releaseId.slice(1)),
            process,
            hostId: "h",
          },
          ...{
            desired: "run",
            state: "starting",
            reason: "",
            need: { cpuMillis: 1, memoryBytes: 1, diskBytes: 0 },
            tags: {},
            restarts: 0,
            ...(process === "web" ? { port: 80 } : {}),
          },
          createdAt: String(made).padStart(6, "0"),
        } as Job);
    }
    const goingBack = read().value.goingBack !== undefined;
    for (const job of jobs) {
      if (job.state !== "starting") continue;
      if (job.releaseId === "r3" && faults.has("starts no more")) continue;
      if (job.releaseId === "r3" && faults.has("all crash")) Object.assign(job, { state: "crashed", restarts: 3 });
      else if (job.releaseId === "r2" && goingBack && plan.backFails) continue;
      else if (job.releaseId === "r2" && isSick(job)) Object.assign(job, { state: "crashed", restarts: 9 });
      else job.state = "up";
    }
  };
  const isSick = ({ process }: Job) =>
    jobs.filter((one) => one.releaseId === "r2" && one.process === process && one.state === "up").length >=
    Math.max(0, (before[process] ?? 0) - plan.sick);
  converge();
  const had = Object.fromEntries(
    [...new Set([...Object.keys(before), ...Object.keys(wanted)])].map((name) => [name, healthy(name)]),
  );
  const promised = (process: string): number => {
    const aim = read().value.goingBack === undefined ? wanted : before;
    return (
      Math.min(had[process] ?? 0, wanted[process] ?? 0, aim[process] ?? 0) - (strategy === "one-down-one-up" ? 1 : 0)
    );
  };

  let clocks = deploymentClocks(() => nowMs);
  // What was not durable was acted upon by nobody: hosts are sent what is durable, and the scheduler's records come after it.
  let durable = structuredClone(jobs);
  let lose = records.saved();
  for (let look = 0; look < 3_000; look++) {
    const entry = read();
    const deployment = entry.value;
    if (hasEnded(deployment)) return { deployment, records, jobs };
    const kill = plan.kills.find(({ at }) => at === look);
    if (kill !== undefined) {
      if (kill.lost) {
        lose();
        jobs = durable;
      }
      clocks = deploymentClocks(() => nowMs);
      continue;
    }
    if (look === plan.faultAt && plan.fault !== "none") {
      faults.add(plan.fault);
      silent ||= plan.fault === "routers silent";
      const hit = jobs.filter(({ releaseId }) => releaseId === "r3");
      const crashes = plan.fault === "all crash" ? hit : plan.fault === "one crashes" ? hit.slice(0, 1) : [];
      for (const job of crashes) Object.assign(job, { state: "crashed", restarts: 3 });
    }
    lose = records.saved();
    durable = structuredClone(jobs);
    const held = jobs.filter(isKept);
    // Others of the process may drain beside them, from before.
    const heldCount = records
      .list<KeptFormation>(keys.formationsOf(APP))
      .flatMap(({ value }) => Object.values(value.kept ?? {}))
      .reduce((sum, count) => sum + count, 0);
    const write = ({ changed = {}, more = [] }: Partial<Turn>) =>
      records.write([{ key: DEPLOYMENT, value: { ...deployment, ...changed } }, ...more]);
    const turn = hasNoWayBack(deployment) ? ending : turningBack;
    const current = records.get<App>(keys.app(APP))!;
    if (look >= plan.cancelAt && deployment.goingBack === undefined) {
      write(turn(records, deployment, current.value, { state: "cancelled", reason: "cancelled by admin", at: AT }));
    } else if (deployment.state === "pending") write(beginning(records, deployment, { app: current, jobs, at: AT }));
    else {
      const progress = progressOf(records, deployment, {
        ...{ app: current.value, jobs, clocks, config: { stableMs: 250 }, hostsBehind: [], endingTimeoutMs: 500 },
        // Silent routers still serve what they took in before.
        routersServe: (those) => !silent || those.every(({ releaseId }) => releaseId === "r2"),
      });
      const step = nextStep(progress);
      if (step.type === "fail" && deployment.goingBack === undefined)
        write(turn(records, deployment, current.value, { state: "failed", reason: step.reason, at: AT }));
      else {
        const written = turnOf(records, deployment, { app: current, jobs, step, at: AT });
        if (written !== undefined) write(written);
        nowMs += step.type === "wait" ? 97 : 1;
      }
    }
    converge();
    // Whatever ends the wait for what came to stay healthy, but that it did: what was kept serves again in the same moment.
    const after = read().value;
    const back = held.filter(({ id }) => jobs.some((job) => job.id === id && job.desired === "run")).length;
    if (deployment.keeping && (after.goingBack !== undefined || after.recalled))
      assert.ok(back >= Math.min(held.length, heldCount), `${back} of ${heldCount} that were kept serve again`);
    if (after.liveAt !== undefined && after.goingBack === undefined)
      assert.is(records.get<App>(keys.app(APP))!.value.releaseId, "r3", "what is live is the app's release");
  }
  throw new Error(`it does not end: ${read().value.step}`);
}

const PLAIN = { noNullPrototype: true };
const counts = fc.record({ web: fc.integer({ min: 0, max: 6 }), worker: fc.integer({ min: 0, max: 3 }) }, PLAIN);
const plans: fc.Arbitrary<Plan> = fc.record({
  strategy: fc.constantFrom("rolling", "in-batches", "all-at-once", "one-down-one-up"),
  before: counts,
  wanted: counts,
  sick: fc.constantFrom(0, 0, 0, 1),
  leftover: fc.oneof(fc.constant({}), counts),
  fault: fc.constantFrom("none", "one crashes", "all crash", "starts no more", "routers silent"),
  faultAt: fc.nat(40),
  cancelAt: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.nat(40)),
  kills: fc.array(fc.record({ at: fc.nat(60), lost: fc.boolean() }), { maxLength: 4 }),
  backFails: fc.constantFrom(false, false, false, true),
});
const formationsOf = (records: Records) =>
  records
    .list<Formation>(keys.formationsOf(APP))
    .map(({ value }) => [
      value.releaseId,
      Object.fromEntries(Object.entries(value.processes).map(([name, { count }]) => [name, count])),
    ]);

function judge(plan: Plan, { deployment, records }: Outcome): void {
  const { state, reason, step } = deployment;
  const app = records.get<App>(keys.app(APP))!.value;
  assert.is(deployment.goingBack, undefined);
  if (state === "complete") {
    assert.is(app.releaseId, "r3");
    assert.equal(formationsOf(records), [["r3", plan.wanted]]);
    return;
  }
  assert.ok(reason !== "");
  assert.is(app.releaseId, "r2");
  assert.equal(
    formationsOf(records).find(([id]) => id === "r2")?.[1],
    plan.before,
    "the earlier release is asked for whole",
  );
  if (/going back to v2 failed too/.test(reason))
    assert.match(step, /(goes on|nothing serves).*flynn -a hello rollback v2/);
  else if (hasBegun(deployment)) {
    assert.is(step, "the earlier release goes on serving");
    assert.is(formationsOf(records).length, 1, "nothing of the failed release is left");
  }
}
const hasBegun = ({ startedAt }: DeploymentRecord) => startedAt !== undefined;

test("property: whatever fails, is cancelled or dies, and wherever, what serves goes on and the deployment ends in words", () => {
  fc.assert(
    fc.property(plans, (plan) => judge(plan, play(plan))),
    { numRuns: 3_000 },
  );
});

const QUIET = { sick: 0, leftover: {}, faultAt: -1, cancelAt: Number.POSITIVE_INFINITY, kills: [], backFails: false };
const STRATEGIES = ["rolling", "in-batches", "all-at-once", "one-down-one-up"] as const;

for (const strategy of STRATEGIES) {
  test(`${strategy}: each fault, a cancel and a death of control at every single look of a deployment of five jobs`, () => {
    const plain: Plan = { ...QUIET, strategy, before: { web: 5 }, wanted: { web: 5 }, fault: "none" };
    for (let at = 0; at < 45; at++) {
      for (const fault of ["one crashes", "all crash", "starts no more", "routers silent"] as const) {
        const plan: Plan = { ...plain, fault, faultAt: at };
        judge(plan, play(plan));
        for (const lost of [false, true]) {
          const killed: Plan = {
            ...plan,
            kills: [
              { at: at + 1, lost },
              { at: at + 5, lost },
            ],
          };
          judge(killed, play(killed));
        }
      }
      const cancelled: Plan = { ...plain, cancelAt: at, kills: [{ at: at + 2, lost: true }] };
      judge(cancelled, play(cancelled));
    }
  });
}

test("one job, and all at once: live at once, what was kept serves again when the new ones fail before they have stayed healthy", () => {
  for (const [strategy, count] of [
    ["rolling", 1],
    ["in-batches", 1],
    ["all-at-once", 4],
  ] as const) {
    const plan: Plan = { ...QUIET, strategy, before: { web: count }, wanted: { web: count }, fault: "none" };
    const done = play(plan).deployment;
    assert.equal([done.state, done.liveAt !== undefined], ["complete", true]);
    let calledBack = 0;
    for (let faultAt = 1; faultAt < 15; faultAt++) {
      const outcome = play({ ...plan, fault: "one crashes", faultAt });
      judge(plan, outcome);
      const { recalled, state, liveAt } = outcome.deployment;
      if (!recalled) continue;
      calledBack++;
      assert.equal([state, liveAt], ["failed", undefined]);
      assert.equal(
        outcome.jobs.filter(({ releaseId, desired }) => releaseId === "r2" && desired === "run").map(({ id }) => id),
        Array.from({ length: count }, (_, n) => `job-${n + 1}`),
        "the same jobs as before, none is made anew",
      );
    }
    assert.ok(calledBack >= 3, `${strategy}: ${calledBack} of the faults came while the earlier jobs were kept`);
  }
});

test("rolling, ten jobs, the last of the new ones crashes: nine serve until the earlier ones are back, one by one", () => {
  const plan: Plan = { ...QUIET, strategy: "rolling", before: { web: 10 }, wanted: { web: 10 }, fault: "none" };
  // The crash comes when the tenth is there: at the last look before it would be done.
  for (let faultAt = 20; faultAt < 45; faultAt++) {
    const outcome = play({ ...plan, fault: "one crashes", faultAt });
    judge(plan, outcome);
    if (outcome.deployment.state === "failed") assert.match(outcome.deployment.reason, /keeps crashing/);
  }
});

test("the way back that fails leaves what serves, says how much, and the next deployment takes all of it along", () => {
  const plan: Plan = {
    ...QUIET,
    strategy: "all-at-once",
    before: { web: 3 },
    wanted: { web: 3 },
    fault: "none",
    backFails: true,
  };
  let seen = 0;
  for (let cancelAt = 1; cancelAt < 12; cancelAt++) {
    const outcome = play({ ...plan, cancelAt });
    judge(plan, outcome);
    const { reason, step } = outcome.deployment;
    if (!/failed too/.test(reason)) continue;
    seen++;
    assert.match(
      reason,
      /^cancelled by admin; going back to v2 failed too: web: 0 of 3 earlier jobs healthy after 60 s/,
    );
    assert.match(
      step,
      /^what serves goes on: v3 web=3; put right what keeps v2 from starting, then: flynn -a hello rollback v2/,
    );
    assert.ok(outcome.jobs.filter(({ releaseId, state }) => releaseId === "r3" && state === "up").length === 3);
  }
  assert.ok(seen > 0);
});

test.run();

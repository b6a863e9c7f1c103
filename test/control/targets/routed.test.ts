// What routers have taken in of single jobs: a change is waited for, and not what comes after it; a drain ends when live routers know.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import type { RouterReport } from "#api/router-agents.ts";
import { keys } from "../../../control/keys.ts";
import { type Routed, routed } from "../../../control/targets/routed.ts";
import type { TargetPool } from "../../../control/targets/router.ts";

const job = (id: string, over: Partial<Job> = {}): Job =>
  ({
    id,
    appId: "app",
    process: "web",
    state: "up",
    desired: "run",
    address: `100.64.1.${id.length}`,
    port: 80,
    ...over,
  }) as Job;

interface Bench {
  it: Routed;
  /** Commits the job's new state; answers its seq. */
  put(job: Job): number;
  /** Another app changes: a generation of its own. */
  others(times: number): void;
  report(generation: number, sessions?: Record<string, number>, over?: Partial<RouterReport>): void;
  state: { nowMs: number; members: number; live: RouterReport[]; routes: boolean; generation: number };
}

function bench(): Bench {
  const state: Bench["state"] = { nowMs: 0, members: 1, live: [], routes: true, generation: 1 };
  let seq = 1;
  const jobs = new Map<string, Job>();
  const pool = (id: string) =>
    state.routes && id === "app/web"
      ? { id, backends: [...jobs.values()].map((one) => ({ jobId: one.id })) }
      : undefined;
  const it = routed({
    store: { list: () => [] },
    pool: (id) => pool(id) as TargetPool | undefined,
    generation: () => state.generation,
    generationOf: (seq) => seq,
    routers: () => ({ term: 1, live: state.live, members: state.members }),
    monotonicMs: () => state.nowMs,
    drainTimeoutMs: 1_000,
  });
  return {
    it,
    state,
    put(value) {
      jobs.set(value.id, value);
      state.generation = ++seq;
      it.apply({ seq, mutations: [{ key: keys.job(value.appId, value.id), value: value as never }] } as never);
      return seq;
    },
    others(times) {
      seq += times;
      state.generation = seq;
    },
    report(generation, sessions = {}, over = {}) {
      const draining = Object.entries(sessions).map(([jobId, count]) => ({ jobId, sessions: count }));
      state.live = [{ term: 1, generation, draining, ...over } as RouterReport];
    },
  };
}

test("new jobs are served from the generation that holds them on, however much of others came after", () => {
  const { it, put, others, report } = bench();
  const one = job("a");
  const at = put(one);
  others(500);
  report(at - 1);
  assert.not(it.serve([one]));
  report(at);
  assert.ok(it.serve([one]), "499 generations of others are nobody's business here");
  put({ ...one, reason: "said something" });
  others(10);
  assert.ok(it.serve([one]), "a record that changes nothing in the routes is no change");
  const moved = { ...one, address: "100.64.9.9" };
  put(moved);
  assert.not(it.serve([moved]));
});

test("a job that is in no route is waited for by nobody, one that is not up is not in the routes", () => {
  const { it, put, state } = bench();
  state.routes = false;
  const one = job("a");
  put(one);
  assert.ok(it.serve([one]));
  state.routes = true;
  assert.not(it.serve([one]), "no router has been heard, and one is there");
  assert.ok(it.serve([job("b", { state: "starting" })]));
});

test("a draining job goes when every live router knows and nobody is on it; the time for open sessions begins when they know", () => {
  const { it, put, others, report, state } = bench();
  put(job("a"));
  const drains = job("a", { desired: "drain" });
  const seq = put(drains);
  others(100);
  report(seq - 1);
  assert.not(it.isDrained(drains, seq));
  state.nowMs += 3_600_000;
  assert.not(it.isDrained(drains, seq), "an hour, and a live router still sends to it");
  report(seq, { a: 2 });
  assert.not(it.isDrained(drains, seq), "known now; two sessions are open");
  state.nowMs += 999;
  assert.not(it.isDrained(drains, seq));
  state.nowMs += 1;
  assert.ok(it.isDrained(drains, seq), "their time is up");
  report(seq, { a: 0 });
  assert.ok(it.isDrained(drains, seq));
});

test("while no router is alive a draining job stays, for HAProxy serves on; in a cluster without routers it goes", () => {
  const { it, put, state } = bench();
  const drains = job("a", { desired: "drain" });
  const seq = put(drains);
  assert.not(it.isDrained(drains, seq));
  state.nowMs += 3_600_000;
  assert.not(it.isDrained(drains, seq));
  state.members = 0;
  assert.ok(it.isDrained(drains, seq));
});

test("a draining job without a route goes once routers know a generation without it, not the newest of everything", () => {
  const { it, put, others, report, state } = bench();
  const drains = job("a", { desired: "drain" });
  const seq = put(drains);
  state.routes = false;
  others(1);
  const without = state.generation;
  report(without - 1);
  assert.not(it.isDrained(drains, seq));
  others(1_000);
  report(without);
  assert.ok(it.isDrained(drains, seq));
});

test.run();

// A host that has nothing new to report is compared with the state only when the state has changed, and misses nothing by it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { beatHost, type HostReport } from "#api/host-agents.ts";
import type { Job } from "#api/jobs.ts";
import { hostChanges } from "../../control/host-changes.ts";
import { beatEveryMs, hostFrames } from "../../control/host-frames.ts";
import { keys } from "../../control/keys.ts";
import type { HostRecord } from "../../control/records.ts";
import { acceptReport } from "../../control/reports.ts";
import { factsOf, type Rig, withRig } from "./rig.ts";

const D1 = "1".repeat(32);
const D2 = "2".repeat(32);
const NOW = "2026-01-01T00:00:00.000Z";

const job = (hostId: string, over: Partial<Job> = {}): Job =>
  ({
    ...{ id: "j1", appId: "a", app: "a", releaseId: "r", version: 1, process: "web", desired: "run" },
    ...{ state: "starting", reason: "", restarts: 0, tags: {}, need: { cpuMillis: 1, memoryBytes: 1, diskBytes: 0 } },
    hostId,
    createdAt: NOW,
    ...over,
  }) as Job;

interface Around extends Rig {
  hostId: string;
  subnet: string;
  /** How often a report was compared with the state. */
  compared: () => number;
  /** Boot steps in each report that was compared. */
  steps: number[];
  frames: ReturnType<typeof hostFrames>;
  report(over?: Partial<HostReport>): Promise<boolean>;
  beat(digest?: string): Promise<boolean>;
  put(value: Job): Promise<unknown>;
  jobNow(): Job;
}

const beside = (body: (around: Around) => Promise<void>) =>
  withRig(
    async (it) => {
      const { id: hostId } = await it.join("host", { name: "h" });
      const { context } = it.control;
      const changes = hostChanges();
      const known = new Map<string, Job>();
      it.store.onDurable((record) => {
        const jobs = record.mutations
          .filter(({ key }) => key.startsWith("jobs/"))
          .map(({ key, value }) => {
            const [before, after] = [known.get(key), (value as unknown as Job | null) ?? undefined];
            if (after) known.set(key, after);
            return { ...(before ? { before } : {}), ...(after ? { after } : {}) };
          });
        changes.apply(record, jobs);
      });
      let compared = 0;
      const steps: number[] = [];
      const frames = hostFrames(context, changes, (...args) => {
        compared++;
        steps.push(args[2].events?.length ?? 0);
        return acceptReport(...args);
      });
      const { subnet } = it.store.get<HostRecord>(keys.host(hostId))!.value;
      await body({
        ...it,
        hostId,
        subnet,
        frames,
        compared: () => compared,
        steps,
        report: (over = {}) =>
          frames.report(hostId, {
            ...{ term: 1, seq: 1, facts: factsOf("h"), engine: { healthy: true, reason: "" }, digest: D1 },
            jobs: [{ id: "j1", state: "up", reason: "", restarts: 0, address: subnet.replace("0/24", "2") }],
            ...over,
          }),
        beat: (digest = D1) => frames.beat(hostId, { term: 1, seq: 2, now: NOW, digest }),
        put: (value) =>
          it.store.commit({ actor: "test", mutations: [{ key: keys.job(value.appId, value.id), value }] }),
        jobNow: () => it.store.get<Job>(keys.job("a", "j1"))!.value,
      });
    },
    { loops: false },
  );

test("a thousand beats after a report compare nothing; the host is heard with each", () =>
  beside(async ({ report, beat, compared, put, hostId, control }) => {
    await put(job(hostId));
    await report();
    assert.is(await beat(), true);
    const settled = compared();
    for (let n = 0; n < 1_000; n++) assert.is(await beat(), true);
    assert.is(compared(), settled);
    const seen = control.context.presence.hosts.get(hostId)!;
    assert.equal([seen.report.seq, seen.report.now, seen.report.jobs.length], [2, NOW, 1]);
  }));

test("what the report says of a job counts again when its record was changed meanwhile by somebody else", () =>
  beside(async ({ report, beat, compared, put, jobNow, hostId }) => {
    await put(job(hostId));
    await report();
    assert.is(jobNow().state, "up");
    await beat();
    await beat();
    const settled = compared();
    await put(job(hostId, { state: "lost", reason: "silent" })); // as liveness has it when it was not heard
    await beat();
    assert.is(jobNow().state, "up", "it is heard to be up");
    await put(job(hostId, { id: "j2" }));
    await beat();
    assert.ok(compared() > settled);
  }));

test("what the report says of a job counts again when control had written it and the disk then refused that", () =>
  beside(async ({ report, beat, put, store, jobNow, hostId }) => {
    await put(job(hostId));
    const before = store.get<Job>(keys.job("a", "j1"))!.value;
    await report();
    await beat();
    await beat();
    // As a pause leaves it: the state as it was, and empty records in the place of those that were refused.
    const get = store.get.bind(store);
    const refused = { key: keys.job("a", "j1"), value: before, version: get(keys.job("a", "j1"))!.version };
    let isTakenBack = true;
    const rows = store as unknown as { get: (key: string) => unknown };
    rows.get = (key) => (isTakenBack && key === refused.key ? refused : get(key));
    const { commit } = store;
    store.commit = (made) => {
      isTakenBack &&= !made.mutations.some(({ key }) => key === refused.key);
      return commit(made);
    };
    assert.is(jobNow().state, "starting");
    await store.commit({ actor: "store", mutations: [] });
    await beat();
    assert.is(jobNow().state, "up");
  }));

test("a host record that says otherwise is set right by a beat too", () =>
  beside(async ({ report, beat, store, hostId }) => {
    await report();
    await beat();
    const { value, key } = store.get<HostRecord>(keys.host(hostId))!;
    await store.commit({ actor: "test", mutations: [{ key, value: { ...value, state: "unhealthy", reason: "?" } }] });
    await beat();
    assert.is(store.get<HostRecord>(key)!.value.state, "ready");
  }));

test("a beat of a report that control has not got is answered so, and changes nothing that is known", () =>
  beside(async ({ report, beat, hostId, control }) => {
    assert.is(await beat(), false, "after a restart of control");
    await report();
    assert.is(await beat(D2), false, "of a report that never arrived");
    assert.is(control.context.presence.hosts.get(hostId)!.report.seq, 1);
    await report({ digest: undefined });
    assert.is(await beat(), false, "an older agent's reports have no digest");
  }));

test("changes since a report that is here are taken in, since another nothing is; the host is asked for all of it", () =>
  beside(async ({ report, beat, put, jobNow, hostId, subnet, control }) => {
    await put(job(hostId));
    await put(job(hostId, { id: "j2" }));
    const held = () => control.context.presence.hosts.get(hostId)!.report.jobs.map(({ id }) => id);
    const j2: HostReport["jobs"][number] = { id: "j2", state: "up", reason: "", restarts: 0 };
    assert.is(await report({ jobs: [j2], since: D2 }), false, "control was started anew");
    assert.is(control.context.presence.hosts.get(hostId), undefined);
    assert.is(await report(), true);
    assert.is(jobNow().state, "up");
    assert.is(await report({ jobs: [j2], since: D1, digest: D2 }), true);
    assert.equal(held(), ["j1", "j2"]);
    await put(job(hostId, { state: "lost", reason: "silent" }));
    assert.is(await beat(D2), true);
    assert.is(jobNow().state, "up", "what an earlier report said of it still holds");
    assert.is(await report({ jobs: [], since: D1, gone: ["j1"] }), false, "one that comes late");
    assert.is(await report({ jobs: [{ ...j2, address: subnet.replace("0/24", "3") }], gone: ["j1"], since: D2 }), true);
    assert.equal(held(), ["j2"]);
  }));

test("boot steps of a report are taken in once, whatever beats follow", () =>
  beside(async ({ report, beat, put, hostId, steps }) => {
    await put(job(hostId));
    await report({ events: [{ at: NOW, stage: "docker", level: "info", message: "up" }] });
    await put(job(hostId));
    await beat();
    assert.equal(steps, [1, 0]);
  }));

test("over the API a host beats for itself, and not for another", () =>
  withRig(
    async ({ host, join }) => {
      const [one, other] = [await host("one"), await join("host", { name: "other" })];
      await one.report({ digest: D1 });
      const body = { term: 0, seq: 0, now: NOW, digest: D1 };
      const { known } = await one.client.call(beatHost, { params: { id: one.id }, body });
      assert.is(known, true);
      const wrong = await other.client.call(beatHost, { params: { id: one.id }, body }).catch((error) => error.code);
      assert.is(wrong, "forbidden");
      for (const odd of [{ ...body, digest: "no digest" }, { ...body, term: "1" }, {}, { ...body, term: 2 ** 52 }]) {
        const fault = await one.client
          .call(beatHost, { params: { id: one.id }, body: odd as never })
          .catch((error) => error);
        assert.is(fault.code, (odd as { term: number }).term === 2 ** 52 ? "conflict" : "invalid", fault.message);
      }
      const newer = { ...body, later: { more: true } };
      assert.is((await one.client.call(beatHost, { params: { id: one.id }, body: newer as never })).known, true);
    },
    { loops: false },
  ));

test("hosts of a large cluster say less often that they are there, and never so seldom that three beats do not fit before one is lost", () => {
  assert.is(beatEveryMs(1, 10_000), 2_000);
  assert.is(beatEveryMs(1_000, 10_000), 2_000);
  assert.is(beatEveryMs(2_000, 10_000), 2_500);
  for (const hosts of [5_000, 1_000_000])
    for (const ttlMs of [7_000, 10_000, 60_000]) assert.ok(beatEveryMs(hosts, ttlMs) * 3 < ttlMs);
});

test.run();

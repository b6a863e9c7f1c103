import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Reach } from "#api/reach.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import type { ReachKernel } from "../../../hostd/reach/kernel.ts";
import { keepReach } from "../../../hostd/reach/reach.ts";
import { container, job, target } from "../jobs.ts";

const REACH: Reach = { version: 3, appNetwork: "app", egress: "internet", closed: [], open: [], routers: [], apps: [] };

function rig() {
  const state = { table: undefined as string | undefined, writes: 0, broken: false };
  const kernel: ReachKernel = {
    async write(text) {
      if (state.broken) throw new Error("nft exited 1");
      state.table = text;
      state.writes++;
    },
    read: async () => state.table,
    prepare: async () => undefined,
  };
  const changes: string[] = [];
  const controller = new AbortController();
  const reach = keepReach({
    kernel,
    jobBridge: "flynn0",
    buildBridges: ["flynnb0"],
    clusterAddresses: () => ["10.77.0.1"],
    dns: () => [],
    onChange: (what) => changes.push(what),
    log: silentLog(),
    everyMs: 10,
  });
  const running = reach.run(controller.signal);
  const end = async () => {
    controller.abort();
    await running;
  };
  const wait = (what: string, probe: () => boolean) => until(probe, { what, timeoutMs: 30_000, everyMs: 5 });
  return { state, reach, changes, end, wait };
}
const running = (jobId: string, address: string) => container(job({ id: jobId }), { address });

test("a job is admitted once the table that names it and its app is in the kernel", async () => {
  const { state, reach, end } = rig();
  reach.setTarget(target([job()]));
  reach.see([]);
  await reach.admit({ jobId: "j1", address: "100.64.7.5" });
  assert.match(state.table!, /02:42:64:40:07:05 \. 100\.64\.7\.5/);
  assert.match(state.table!, /# app-1/);
  await end();
});

test("while the kernel refuses the table nothing is admitted, and it is tried again", async () => {
  const { state, reach, end, wait } = rig();
  state.broken = true;
  reach.setTarget(target([job()]));
  reach.see([]);
  const error = await reach.admit({ jobId: "j1", address: "100.64.7.5" }).then(
    () => undefined,
    (cause: Error) => cause,
  );
  assert.match(error!.message, /not in the kernel yet/);
  state.broken = false;
  await wait("the table", () => state.table !== undefined);
  await end();
});

test("no table is made before the containers were looked at: it would cut off those that run", async () => {
  const { state, reach, end, wait } = rig();
  reach.setTarget(target([job()]));
  const error = await reach.inForce().then(
    () => undefined,
    (cause: Error) => cause,
  );
  assert.ok(error);
  assert.is(state.writes, 0);
  reach.see([running("j1", "100.64.7.2")]);
  await wait("the table", () => state.table?.includes("100.64.7.2 : goto out_0") ?? false);
  await end();
});

test("a table that was flushed or altered is put back, and said", async () => {
  const { state, reach, changes, end, wait } = rig();
  reach.setTarget(target([], { reach: REACH }));
  reach.see([]);
  await reach.inForce();
  const text = state.table;
  for (const altered of [undefined, `${text}more`]) {
    state.table = altered;
    await wait("the table is back", () => state.table === text);
  }
  await wait("it is said", () => changes.filter((what) => what === "mended").length === 2);
  await end();
});

test("the version that is reported is the one in the kernel, not the one wanted", async () => {
  const { state, reach, changes, end, wait } = rig();
  reach.setTarget(target([], { reach: REACH }));
  reach.see([]);
  assert.is(reach.version(), undefined);
  await wait("version 3", () => reach.version() === 3);
  state.broken = true;
  reach.setTarget(target([], { reach: { ...REACH, version: 4 } }));
  await reach.inForce().catch(() => undefined);
  assert.is(reach.version(), 3);
  state.broken = false;
  await wait("version 4", () => reach.version() === 4);
  assert.equal(changes, ["version", "version"]);
  await end();
});

test("a job that the target no longer names keeps its app's reach until its container is gone", async () => {
  const { state, reach, end, wait } = rig();
  reach.setTarget(target([job()]));
  reach.see([running("j1", "100.64.7.2")]);
  await reach.inForce();
  reach.setTarget(target([], { seq: 2, reach: REACH }));
  await reach.inForce();
  assert.match(state.table!, /100\.64\.7\.2 : goto out_0/);
  reach.see([]);
  await wait("it is gone", () => !state.table?.includes("100.64.7.2"));
  await end();
});

test("an address is taken for a job's only when the container has that job's name", async () => {
  const { state, reach, end } = rig();
  reach.setTarget(target([job()]));
  reach.see([{ ...running("j1", "100.64.7.2"), name: "somebody" }]);
  await reach.inForce();
  assert.not.match(state.table!, /100\.64\.7\.2/);
  await end();
});

test("a table that is as it should be is not written again", async () => {
  const { state, reach, end, wait } = rig();
  reach.setTarget(target([job()]));
  reach.see([]);
  await reach.inForce();
  for (let n = 2; n < 6; n++) reach.setTarget(target([job()], { seq: n }));
  await reach.inForce();
  reach.see([running("j1", "100.64.7.2")]);
  await wait("the job is named", () => state.table?.includes("100.64.7.2") ?? false);
  assert.is(state.writes, 2);
  await end();
});

test.run();

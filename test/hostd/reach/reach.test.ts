import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Reach } from "#api/reach.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import type { ReachKernel } from "../../../hostd/reach/kernel.ts";
import { keepReach } from "../../../hostd/reach/reach.ts";
import { container, job, target } from "../jobs.ts";
import { nft } from "./nft.ts";

const REACH: Reach = { version: 3, appNetwork: "app", egress: "internet", closed: [], open: [], routers: [], apps: [] };

function rig() {
  const state = { table: undefined as string | undefined, writes: 0, whole: 0, broken: false };
  const kernel: ReachKernel = {
    async write(text) {
      if (state.broken) throw new Error("nft exited 1");
      state.table = nft(state.table, text);
      state.writes++;
      if (text.includes("delete table")) state.whole++;
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
  reach.setTarget(target([], { reach: { ...REACH, version: 4, closed: ["10.9.0.0/16"] } }));
  await reach.inForce().catch(() => undefined);
  assert.is(reach.version(), 3);
  state.broken = false;
  await wait("version 4", () => reach.version() === 4);
  const writes = state.writes;
  reach.setTarget(target([], { reach: { ...REACH, version: 5, closed: ["10.9.0.0/16"] } }));
  await reach.inForce();
  assert.is(reach.version(), 5, "which asks for nothing else, and so is in force");
  assert.is(state.writes, writes);
  assert.equal(changes, ["version", "version", "version"]);
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

test("a job that comes or goes changes the table and does not make it anew", async () => {
  const { state, reach, end, wait } = rig();
  reach.setTarget(target([job()]));
  reach.see([running("j1", "100.64.7.2")]);
  await reach.inForce();
  reach.setTarget(target([job(), job({ id: "j2" })]));
  await reach.admit({ jobId: "j2", address: "100.64.7.5" });
  assert.match(state.table!, /02:42:64:40:07:05 \. 100\.64\.7\.5/);
  assert.match(state.table!, /100\.64\.7\.5 : goto out_0/);
  reach.dismiss("100.64.7.5");
  await wait("it is gone", () => !state.table!.includes("100.64.7.5"));
  assert.is(state.whole, 1);
  await end();
});

test("what somebody else did to the table does not pass for ours when a job comes", async () => {
  const { state, reach, changes, end } = rig();
  reach.setTarget(target([job()]));
  reach.see([]);
  await reach.inForce();
  const alter = (from: string, to: string) => {
    state.table = state.table!.replace(from, to);
    assert.ok(state.table.includes(to));
  };
  for (const altering of [
    () => alter("    ct original ip saddr @routers accept\n", "    accept\n"),
    () => alter("  chain routed {", "  chain theirs {\n    accept\n  }\n  chain routed {"),
    () => alter("elements = { 10.77.0.1 }", "elements = { 10.77.0.1, 10.77.0.2 }"),
    () => (state.table = undefined),
  ]) {
    const whole = state.whole;
    altering();
    await reach.admit({ jobId: "j1", address: `100.64.7.${5 + whole}` });
    await reach.inForce(); // once the one before is read back
    assert.is(state.whole, whole + 1);
    assert.ok(state.table?.includes("ct original ip saddr @routers accept"));
    assert.not.match(state.table!, /chain theirs|10\.77\.0\.2/);
  }
  assert.ok(changes.includes("mended"));
  await end();
});

test.run();

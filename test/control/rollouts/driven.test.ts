// time limit: 300 s
// A rollout over a real control, with machines that boot what they are given and hosts that do what they are told.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { getBootImage } from "#api/boot.ts";
import { cordonHost, listHosts } from "#api/hosts.ts";
import { listJobs } from "#api/jobs.ts";
import { bootMachineOnce, reprovisionMachine } from "#api/machine-life.ts";
import { getMachine } from "#api/machines.ts";
import { orderPower, putMachineBmc } from "#api/power.ts";
import {
  cancelRollout,
  getRollout,
  hasEnded,
  listRollouts,
  pauseRollout,
  type Rollout,
  type RolloutWish,
  resumeRollout,
  rolloutBootImage,
} from "#api/rollouts.ts";
import { createService } from "#api/services.ts";
import { deadline, until } from "#lib/time.ts";
import { PREFIX } from "../../../control/keys.ts";
import { type FakeMachine, type World, world } from "../machine-world.ts";
import { type Rig, withRig } from "../rig.ts";

const QUICK = { hostLostAfterMs: 2_000, drainTimeoutMs: 200, rolloutDrainMs: 30_000, rolloutBootMs: 60_000 };
const LONG = { timeoutMs: 60_000, everyMs: 50 };

interface Cluster {
  rig: Rig;
  at: World;
  machines: FakeMachine[];
}

/** Three hosts that run image `old`, and an app of two jobs on them. */
const withCluster = (body: (cluster: Cluster) => Promise<void>, over: Partial<typeof QUICK> = {}) =>
  withRig(
    async (rig) => {
      const at = await world(rig);
      await at.image("old", true);
      await at.image("new");
      const machines = [await at.machine(1), await at.machine(2), await at.machine(3)];
      try {
        await allReady(rig, "old", machines);
        await rig.router();
        await rig.admin.call(createService, { body: { name: "hello", image: "hello:1", count: 2 } });
        await until(() => jobsUp(rig), { what: "both jobs up", ...LONG });
        await body({ rig, at, machines });
      } finally {
        await at.stop();
      }
    },
    { ...QUICK, ...over },
  );

const jobsUp = async ({ admin }: Rig) =>
  (await admin.call(listJobs, { params: { app: "hello" } })).items.filter(
    ({ state, desired }) => state === "up" && desired === "run",
  ).length === 2;
const imagesOf = ({ admin }: Rig, machines: FakeMachine[]) =>
  Promise.all(
    machines.map(async ({ id }) => {
      const { state, imageId } = await admin.call(getMachine, { params: { id } });
      return `${state} ${imageId}`;
    }),
  );
const allReady = (rig: Rig, image: string, machines: FakeMachine[]) =>
  until(async () => (await imagesOf(rig, machines)).every((each) => each === `ready ${image}`), {
    what: `every machine ready with ${image}`,
    ...LONG,
  });
const begin = ({ admin }: Rig, wish: RolloutWish) =>
  admin.call(rolloutBootImage, { params: { id: "new" }, body: wish });
const show = ({ admin }: Rig, { id }: Pick<Rollout, "id">) => admin.call(getRollout, { params: { id } });
const cordoned = async ({ admin }: Rig) => (await admin.call(listHosts, {})).items.filter((host) => host.cordoned);

/** To its end; never more than so many hosts closed to jobs at a time. */
async function ended(rig: Rig, rollout: Pick<Rollout, "id">, most = 1): Promise<Rollout> {
  const seen = await until(
    async () => {
      const closed = await cordoned(rig);
      assert.ok(closed.length <= most, `${closed.length} hosts are closed at once`);
      const now = await show(rig, rollout);
      return hasEnded(now) ? now : undefined;
    },
    { what: "the rollout to end", ...LONG },
  );
  assert.equal(await cordoned(rig), []);
  return seen;
}

/** Resolves once it was written that a machine is at that; ask before it can be. */
const seenAt = (rig: Rig, state: string): Promise<void> =>
  deadline(
    new Promise((resolve) => {
      rig.store.onDurable(({ mutations }) => {
        const at = mutations.map(({ value }) => value as { state?: string } | null);
        if (mutations.some(({ key }, n) => key.startsWith(PREFIX.rolloutMachines) && at[n]?.state === state)) resolve();
      });
    }),
    LONG.timeoutMs,
    `a machine ${state}`,
  );

test("an image goes to one machine, then to all; each boots it once, and it is current at the end", () =>
  withCluster(async ({ rig, machines }) => {
    const rollout = await begin(rig, { stages: ["1", "all"], gateSeconds: 1 });
    assert.equal(
      rollout.stages.map(({ name, machines: count }) => [name, count]),
      [
        ["1", 1],
        ["all", 2],
      ],
    );
    const end = await ended(rig, rollout);
    assert.equal([end.state, end.counts], ["done", { ready: 3 }], end.reason);
    assert.equal(await imagesOf(rig, machines), ["ready new", "ready new", "ready new"]);
    for (const { booted, obeyed } of machines) {
      assert.equal(booted, ["old", "new"]);
      assert.is(obeyed.length, 1);
    }
    assert.ok((await rig.admin.call(getBootImage, { params: { id: "new" } })).current);
    for (const { id } of machines)
      assert.is((await rig.admin.call(getMachine, { params: { id } })).pinnedImageId, undefined);
    await until(() => jobsUp(rig), { what: "both jobs up", ...LONG });
  }));

for (const [what, fate, reason] of [
  ["refuses in its initrd", "refuses", /initrd refused/],
  // Its restarts, or the alert of them, whichever is seen first.
  ["makes jobs crash", "jobs crash", /keeps crashing|crashes again and again/],
] as const)
  test(`an image that ${what} comes back by itself, and was nowhere but in its first stage`, () =>
    withCluster(async ({ rig, machines }) => {
      for (const { fates } of machines) fates.set("new", fate);
      // Where jobs go to a machine only when another one is drained, that is when it shows.
      const end = await ended(rig, await begin(rig, { stages: ["2", "all"], gateSeconds: 1 }));
      assert.is(end.state, "failed", end.step);
      assert.match(end.reason, reason);
      await allReady(rig, "old", machines);
      assert.ok(machines.some(({ booted }) => !booted.includes("new")));
      assert.ok((await rig.admin.call(getBootImage, { params: { id: "old" } })).current);
      await until(() => jobsUp(rig), { what: "both jobs up", ...LONG });
    }));

test("an image that hangs is given up after its time; switched off and on the machine boots what it had", () =>
  withCluster(
    async ({ rig, machines }) => {
      for (const { fates } of machines) fates.set("new", "hangs");
      const rollout = await begin(rig, { stages: ["1", "all"], gateSeconds: 0 });
      const back = await until(
        async () => {
          const now = await show(rig, rollout);
          return now.state === "going-back" ? now : undefined;
        },
        { what: "the way back", ...LONG },
      );
      assert.match(back.reason, /did not come back in time/);
      for (const machine of machines) if (machine.booted.at(-1) === "new") machine.powerCycle();
      assert.is((await ended(rig, rollout)).state, "failed");
      await allReady(rig, "old", machines);
    },
    { rolloutBootMs: 4_000 },
  ));

test("paused it begins nothing and ends what it began; it goes on; called off it goes back", () =>
  withCluster(async ({ rig, machines }) => {
    const rollout = await begin(rig, { stages: ["1", "2", "all"], gateSeconds: 0 });
    await rig.admin.call(pauseRollout, { params: { id: rollout.id }, body: {} });
    const standing = await until(
      async () => {
        const now = await show(rig, rollout);
        return now.step === "paused" ? now : undefined;
      },
      { what: "it stands still", ...LONG },
    );
    assert.ok((standing.counts.ready ?? 0) + (standing.counts.waiting ?? 0) === 3);
    await rig.admin.call(resumeRollout, { params: { id: rollout.id }, body: {} });
    await until(async () => ((await show(rig, rollout)).counts.ready ?? 0) >= 2, { what: "two machines", ...LONG });
    await rig.admin.call(cancelRollout, { params: { id: rollout.id }, body: {} });
    const end = await ended(rig, rollout);
    assert.is(end.state, "cancelled", end.reason);
    await allReady(rig, "old", machines);
    for (const { booted } of machines) assert.ok(booted.filter((image) => image === "new").length <= 1);
  }));

test("two at a time where two may be down; another rollout waits for its end", () =>
  withCluster(async ({ rig, machines }) => {
    const rollout = await begin(rig, { stages: ["all"], maxUnavailable: 2, gateSeconds: 0 });
    const refused = await begin(rig, { stages: ["all"] }).catch((error: Error) => error.message);
    assert.match(String(refused), /rollout .* is running; wait for its end/);
    assert.is((await ended(rig, rollout, 2)).state, "done");
    assert.equal(await imagesOf(rig, machines), ["ready new", "ready new", "ready new"]);
  }));

test("without stages it is current at once, and nobody is told to reboot", () =>
  withCluster(async ({ rig, machines }) => {
    const rollout = await begin(rig, {});
    assert.equal([rollout.state, rollout.stages], ["done", []]);
    assert.ok((await rig.admin.call(getBootImage, { params: { id: "new" } })).current);
    assert.equal(
      machines.map(({ obeyed }) => obeyed),
      [[], [], []],
    );
    machines[0]!.powerCycle();
    await until(async () => (await imagesOf(rig, machines))[0] === "ready new", {
      what: "the first with new",
      ...LONG,
    });
    assert.equal(
      (await rig.admin.call(listRollouts, { query: {} })).items.map(({ id }) => id),
      [rollout.id],
    );
  }));

for (const state of ["draining", "rebooting", "ready", "back-draining", "back-rebooting"])
  test(`control restarted while a machine is ${state}: it goes on, and nothing is done twice`, () =>
    withCluster(async ({ rig, machines }) => {
      const back = state.startsWith("back");
      const there = seenAt(rig, state);
      // Only who closes it in its way waits for a machine to be there.
      const ready = back ? seenAt(rig, "ready") : undefined;
      const rollout = await begin(rig, { stages: ["1", "all"], gateSeconds: back ? 600 : 0 });
      if (ready !== undefined) {
        await ready;
        await rig.admin.call(cancelRollout, { params: { id: rollout.id }, body: {} });
      }
      await there;
      await rig.restart();
      const end = await ended(rig, rollout);
      assert.is(end.state, back ? "cancelled" : "done", end.reason);
      await allReady(rig, back ? "old" : "new", machines);
      for (const { booted, obeyed } of machines) {
        assert.is(new Set(obeyed).size, obeyed.length, "an order was obeyed twice");
        assert.ok(booted.filter((image) => image === "new").length <= 1);
      }
    }));

test("a host that a person had closed stays closed, with the new image", () =>
  withCluster(async ({ rig, machines }) => {
    const params = { id: (await rig.admin.call(listHosts, {})).items[0]!.id };
    await rig.admin.call(cordonHost, { params, body: {} });
    const rollout = await begin(rig, { stages: ["all"], gateSeconds: 0 });
    const end = await until(
      async () => {
        const now = await show(rig, rollout);
        return hasEnded(now) ? now : undefined;
      },
      { what: "the rollout to end", ...LONG },
    );
    assert.is(end.state, "done", end.reason);
    await allReady(rig, "new", machines);
    assert.equal(
      (await cordoned(rig)).map(({ id, draining }) => [id, draining]),
      [[params.id, undefined]],
    );
  }));

test("a host that a person closes while a rollout boots it anew stays closed, and nothing else is ordered of it meanwhile", () =>
  withCluster(async ({ rig, machines }) => {
    const rollout = await begin(rig, { stages: ["all"], gateSeconds: 0 });
    const machineId = await until(
      async () => (await show(rig, rollout)).machines?.find(({ state }) => state === "rebooting")?.machineId,
      { what: "one to boot anew", ...LONG },
    );
    const params = { id: machineId };
    const { hostId } = await rig.admin.call(getMachine, { params });
    await rig.admin.call(cordonHost, { params: { id: hostId! }, body: {} });
    const bmc = { kind: "ipmi" as const, address: "10.0.0.9", user: "ops", password: "a longer word" };
    await rig.admin.call(putMachineBmc, { params, body: bmc });
    for (const order of [
      rig.admin.call(bootMachineOnce, { params, body: { target: "rescue" } }),
      rig.admin.call(reprovisionMachine, { params, body: {} }),
      rig.admin.call(orderPower, { params, body: { action: "cycle", force: true } }),
    ]) {
      const why = await order.then(() => "taken", String);
      assert.match(why, `rollout ${rollout.id} boots machine`);
      assert.match(why, `flynn rollout cancel ${rollout.id}`);
    }
    const end = await until(
      async () => {
        const now = await show(rig, rollout);
        return hasEnded(now) ? now : undefined;
      },
      { what: "the rollout to end", ...LONG },
    );
    assert.is(end.state, "done", end.reason);
    await allReady(rig, "new", machines);
    assert.equal(
      (await cordoned(rig)).map(({ id, draining }) => [id, draining]),
      [[hostId, undefined]],
    );
  }));

test.run();

// A host that falls silent and comes back, with a whole control: what it ran goes on if nothing replaced it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { updateFormation } from "#api/apps.ts";
import { hostTarget } from "#api/host-agents.ts";
import { type Job, listJobs } from "#api/jobs.ts";
import { createService } from "#api/services.ts";
import { until } from "#lib/time.ts";
import { PREFIX } from "../../control/keys.ts";
import { type Rig, withRig } from "./rig.ts";

const WAIT = { timeoutMs: 30_000, everyMs: 20 };
const APP = { app: "hello" };
/** Of the default size so many fill a host of the rig. */
const FULL = 16;

const jobs = async (rig: Rig): Promise<Job[]> =>
  (await rig.admin.call(listJobs, { params: APP, query: { all: true, limit: 500 } })).items;

test("jobs that fit their silent host only stay in its target, out of the routes, and are up again when it is heard", () =>
  withRig(
    async (rig) => {
      const router = await rig.router();
      const [silent, other] = [await rig.host(), await rig.host()];
      for (const host of [silent, other]) host.start();
      await rig.admin.call(createService, { body: { name: "hello", image: "hello:1", domain: "hello.test" } });
      const isUp = ({ state }: Job) => state === "up";
      await until(async () => (await jobs(rig)).filter(isUp).length === 1, { what: "the first", ...WAIT });
      const scale = () => rig.admin.call(updateFormation, { params: APP, body: { web: { count: 2 * FULL } } });
      await until(() => scale().catch(() => undefined), { what: "the deployment to be over", ...WAIT });
      await until(async () => (await jobs(rig)).filter(isUp).length === 2 * FULL, { what: "all", ...WAIT });
      const mine = (list: readonly Job[]) => list.filter(({ hostId }) => hostId === silent.id);
      const ids = mine(await jobs(rig)).map(({ id }) => id);
      assert.is(ids.length, FULL);
      const routed = () => router.seen.at(-1)?.pools[0]?.backends.filter(({ jobId }) => ids.includes(jobId)).length;

      await silent.stop();
      const isLost = async () => mine(await jobs(rig)).filter(({ state }) => state === "lost").length === FULL;
      await until(isLost, { what: "them to be lost", ...WAIT });
      const [lost] = mine(await jobs(rig));
      assert.equal([lost!.desired, lost!.reason], ["run", "host h1 fell silent"]);
      const isAsked = async () => (await jobs(rig)).find(({ state, hostId }) => state === "pending" && !hostId);
      const waits = await until(isAsked, { what: "others to be asked for", ...WAIT });
      assert.match(waits.reason, /^no host has 512 MiB memory free \(largest free: 0 B on h2\); 1 host lost$/);
      assert.is(
        rig.store.get<Job>(`${PREFIX.jobs}${waits.appId}/${waits.id}`)?.value.reason,
        "no host has 512 MiB memory and 0.1 CPU free",
      );
      await until(() => routed() === 0, { what: "them to be out of the routes", ...WAIT });
      const target = await silent.client.call(hostTarget, { params: { id: silent.id } });
      assert.equal(target.jobs.map(({ id }) => id).sort(), [...ids].sort());

      silent.start();
      await until(() => routed() === FULL, { what: "them to be in the routes again", ...WAIT });
      assert.equal(
        mine(await jobs(rig))
          .map(({ id }) => id)
          .sort(),
        [...ids].sort(),
        "the same jobs, and no others",
      );
      const nobodyWaits = async () => !(await jobs(rig)).some(({ state }) => state === "pending");
      await until(nobodyWaits, { what: "nothing to be asked for any more", ...WAIT });
    },
    { hostLostAfterMs: 1_500 },
  ));

test.run();

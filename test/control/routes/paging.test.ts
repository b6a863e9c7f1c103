// Every list of the API, page by page: each item once, in the order of the whole list, whatever it is a list of.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type App, createApp, updateEnv } from "#api/apps.ts";
import { postBootEvents, putProfile } from "#api/boot.ts";
import { createDeployment } from "#api/deployments.ts";
import { createLogDrain } from "#api/drains.ts";
import { controlEndpoints } from "#api/endpoints.ts";
import { createExternalService } from "#api/external-services.ts";
import { createJob } from "#api/jobs.ts";
import { createNetworkRule } from "#api/network.ts";
import { createRoute } from "#api/routes.ts";
import { createService } from "#api/services.ts";
import { createToken } from "#api/tokens.ts";
import { keys } from "../../../control/keys.ts";
import type { ReleaseRecord } from "../../../control/records.ts";
import { type Rig, withRig } from "../rig.ts";

const macOf = (n: number) => `52:54:00:00:00:0${n}`;
const params = { app: "svc-0", id: macOf(0) };
const COUNT = 3;
/** Lists that nothing here fills: of builds, of alerts (alerts.test.ts walks theirs), and of what comes with files of its own. */
const UNFILLED = new Set([
  "listAlerts",
  "listBuilds",
  "listBootImages",
  "listCertificates",
  "listKeys",
  "listMachineOrders",
]);

async function fill(rig: Rig): Promise<void> {
  const { admin, store } = rig;
  for (let n = 0; n < COUNT; n++) {
    const name = `svc-${n}`;
    await admin.call(createService, { body: { name, image: "hello:1" } });
    const id = store.get<string>(keys.appName(name))!.value;
    const app = store.get<App>(keys.app(id))!;
    const releaseId = store.list<ReleaseRecord>(keys.releasesOf(id))[0]!.value.id;
    await store.commit({ actor: "test", mutations: [{ key: app.key, value: { ...app.value, releaseId } }] });
  }
  const profile = { image: "current", cmdline: [], tags: {}, sshKeys: [], diskPolicy: { name: "ram", mode: "ram" } };
  for (let n = 0; n < COUNT; n++) {
    await admin.call(createJob, { params, body: { process: "web" } });
    await admin.call(createRoute, { body: { app: "svc-0", domain: `a${n}.com` } });
    await admin.call(createLogDrain, { body: { url: `https://drain-${n}.example.com/` } });
    await admin.call(createExternalService, { body: { name: `db-${n}`, address: "10.20.0.5", port: 5432 } });
    await admin.call(createToken, { body: { name: `token-${n}`, permissions: ["app:read"] } });
    const name = `plain-${n}`;
    await admin.call(putProfile, { params: { name }, body: { ...profile, name } as never });
    await rig.join("host");
    await rig.join("router");
  }
  // In one turn, so that their times are the same.
  await Promise.all(
    Array.from({ length: COUNT }, () => admin.call(createDeployment, { params, body: { release: "v1" } })),
  );
  const boot = await rig.join("boot");
  const at = new Date(0).toISOString();
  const events = Array.from({ length: COUNT * COUNT }, (_, n) => {
    const event = { stage: "discover" as const, level: "info" as const, message: `step ${n}` };
    return { eventId: `e${n}`, at, claimed: { mac: macOf(n % COUNT) }, observed: {}, ...event };
  });
  await boot.client.call(postBootEvents, { params: { id: boot.id }, body: { events } });
  await admin.call(createApp, { body: { name: "bare" } });
  for (let n = 0; n < COUNT; n++)
    await admin.call(createNetworkRule, { body: { from: { name: "bare" }, to: { name: `svc-${n}` } } });
  for (let n = 0; n < COUNT; n++) await admin.call(updateEnv, { params, body: { env: { A: String(n) } } });
}

/** Each of the requests uses a token. */
const lasting = ({ lastUsedAt: _, ...item }: { lastUsedAt?: string }) => item;

test("each list, walked in pages of one and of two, is the whole list", () =>
  withRig(
    async (rig) => {
      await fill(rig);
      const lists = controlEndpoints().filter(({ query }) => JSON.stringify(query).includes('"cursor"'));
      assert.ok(lists.length >= 15, `${lists.length}`);
      for (const endpoint of lists) {
        const call = async (query: object): Promise<{ items: object[]; nextCursor?: string }> =>
          (await rig.admin.call(endpoint, { params, query } as never)) as never;
        const whole = await call({ limit: 1000 });
        assert.is(whole.nextCursor, undefined, endpoint.id);
        const filled = endpoint.id === "listAppLogDrains" || UNFILLED.has(endpoint.id);
        assert.ok(filled || whole.items.length >= COUNT, `${endpoint.id}: ${whole.items.length}`);
        for (const limit of [1, 2]) {
          const walked: object[] = [];
          let cursor: string | undefined;
          let pages = 0;
          do {
            const page = await call({ limit, ...(cursor ? { cursor } : {}) });
            assert.ok(page.items.length <= limit, endpoint.id);
            walked.push(...page.items);
            cursor = page.nextCursor;
            pages++;
          } while (cursor !== undefined && pages < 100);
          assert.equal(walked.map(lasting), whole.items.map(lasting), `${endpoint.id} by ${limit}`);
          assert.is(pages, Math.max(1, Math.ceil(whole.items.length / limit)), endpoint.id);
        }
      }
    },
    { loops: false },
  ));

test.run();

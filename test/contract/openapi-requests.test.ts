// time limit: 120 s
// The requests that the documents show, sent to a control that has what they name: each is taken, or refused for what an example cannot have.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type App, createApp } from "#api/apps.ts";
import { postBootEvents } from "#api/boot.ts";
import { createCertificate } from "#api/certificates.ts";
import { createDeployment } from "#api/deployments.ts";
import { controlEndpoints } from "#api/endpoints.ts";
import { createExternalService } from "#api/external-services.ts";
import { type Fault, isFault } from "#api/fault.ts";
import { createJob } from "#api/jobs.ts";
import { approveMachine } from "#api/machines.ts";
import { BODIES } from "#api/openapi/example-bodies.ts";
import { createRoute } from "#api/routes.ts";
import { createService } from "#api/services.ts";
import { keys } from "../../control/keys.ts";
import type { ReleaseRecord } from "../../control/records.ts";
import { type Rig, withRig } from "../control/rig.ts";
import { makeCertificate } from "../control/routing/certificates.ts";

const REFUSED: Record<string, Fault["code"]> = {
  // Keys, signatures, images, disks and BMCs of one's own are not in an example.
  createCertificate: "invalid",
  updateCertificate: "invalid",
  registerBootImage: "unavailable",
  rolloutBootImage: "not-found",
  setStack: "invalid",
  orderPower: "conflict",
  wipeMachineDisk: "conflict",
  startMachineWipe: "conflict",
  decideQuarantine: "not-found",
  // No host runs anything here: the deployment does not end and is not paused, the job waits.
  updateFormation: "conflict",
  updateService: "conflict",
  resumeDeployment: "conflict",
  rollbackApp: "conflict",
  createSession: "conflict",
  signalJob: "conflict",
};

const macOf = (n: number) => `52:54:00:00:00:0${n}`;

/** What the paths of the requests name, by endpoint. */
async function world(rig: Rig): Promise<(id: string) => Record<string, string>> {
  const { admin, store } = rig;
  await admin.call(createService, { body: { name: "hello", image: "hello:1", count: 1 } });
  await admin.call(createApp, { body: { name: "other" } });
  const appId = store.get<string>(keys.appName("hello"))!.value;
  const app = store.get<App>(keys.app(appId))!;
  const releaseId = store.list<ReleaseRecord>(keys.releasesOf(appId))[0]!.value.id;
  await store.commit({ actor: "test", mutations: [{ key: app.key, value: { ...app.value, releaseId } }] });
  const { id: deployment } = await admin.call(createDeployment, { params: { app: "hello" }, body: { release: "v1" } });
  const { id: job } = await admin.call(createJob, { params: { app: "hello" }, body: { process: "web" } });
  const { id: route } = await admin.call(createRoute, { body: { app: "hello", domain: "old.example.com" } });
  await admin.call(createExternalService, { body: { name: "db", address: "192.0.2.9", port: 5432 } });
  const { certificate, key } = await makeCertificate({ names: ["a.example.com"], from: new Date(), days: 30 });
  const { id: made } = await admin.call(createCertificate, { body: { chain: certificate, key } });
  await (await rig.host("h1")).report();
  const boot = await rig.join("boot");
  const event = { stage: "discover" as const, level: "info" as const, message: "seen", observed: {} };
  const at = new Date(0).toISOString();
  const events = [1, 2, 3, 4].map((n) => ({ ...event, eventId: `e${n}`, at, claimed: { mac: macOf(n) } }));
  await boot.client.call(postBootEvents, { params: { id: boot.id }, body: { events } });
  await admin.call(approveMachine, { params: { id: macOf(4) }, body: {} });
  const ids: Record<string, string> = {
    approveMachine: macOf(1),
    updateMachine: macOf(1),
    adoptMachine: macOf(4),
    wipeMachineDisk: macOf(1),
    putMachineBmc: macOf(1),
    orderPower: macOf(1),
    startMachineWipe: macOf(1),
    bootMachineOnce: macOf(4),
    rejectMachine: macOf(3),
    updateHost: "h1",
    updateRoute: route,
    updateCertificate: made,
    resumeDeployment: deployment,
  };
  const names: Record<string, string> = { updateService: "hello", updateExternalService: "db", putProfile: "storage" };
  return (id) => ({ app: "hello", id: ids[id] ?? job, name: names[id] ?? "" });
}

test("every request with a body has an example of its own, and no example is of nothing", () => {
  const filled = controlEndpoints()
    .filter(({ permission, body }) => permission.includes(":") && Object.keys(body ?? {}).length > 0)
    .filter(({ body }) => JSON.stringify(body).includes('"properties":{"') || "patternProperties" in (body as object))
    .map(({ id }) => id);
  assert.equal(Object.keys(BODIES).sort(), filled.sort());
});

test("a control takes what the documents show, or says what the example could not bring", () =>
  withRig(
    async (rig) => {
      const paramsOf = await world(rig);
      const wrong: string[] = [];
      for (const endpoint of controlEndpoints()) {
        const body = BODIES[endpoint.id];
        if (body === undefined) continue;
        const code = await rig.admin.call(endpoint, { params: paramsOf(endpoint.id), body } as never).then(
          () => "taken",
          (error: unknown) => (isFault(error) ? `${error.code}: ${error.message}` : String(error)),
        );
        const wanted = REFUSED[endpoint.id] ?? "taken";
        if (code.split(":")[0] !== wanted) wrong.push(`${endpoint.id} is ${code}; wanted: ${wanted}`);
      }
      assert.equal(wrong, []);
    },
    { loops: false },
  ));

test.run();

// releases and rollback: what goes next is marked, and a rollback says what it leaves as it is and how to undo it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { closeFakes, fakeControl } from "./fake-control.ts";

test.after.each(closeFakes);

const release = (version: number, over: object = {}) => ({
  id: `release-${version}`,
  appId: "app-1",
  version,
  artifactId: "artifact-1",
  processes: { web: { port: 8080 } },
  envNames: [],
  description: `change ${version}`,
  createdAt: "2026-01-01T00:00:00Z",
  createdBy: "ann",
  current: false,
  ...over,
});
const deployment = (over: object) => ({
  id: "deployment-1",
  appId: "app-1",
  toReleaseId: "release-3",
  toVersion: 3,
  strategy: "rolling",
  state: "pending",
  step: "queued",
  reason: "",
  logTail: [],
  processes: {},
  createdAt: "2026-01-01T00:00:00Z",
  ...over,
});

test("the list marks the current release and the ones the next clean-up takes", async () => {
  const control = await fakeControl();
  const items = [release(12, { current: true }), release(11), release(1, { collectable: true })];
  control.on("GET /v1/apps/hello/releases", { json: { items } });
  const { out } = await control.flynn("releases -a hello");
  const [, current = "", kept = "", old = ""] = out.split("\n");
  assert.match(current, /^v12 .*\(current\) +change 12$/);
  assert.not.match(kept, /\(/);
  assert.match(old, /^v1 .*\(goes next\) +change 1$/);
});

test("rollback says what it does not undo, and how to undo it", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/hello/releases", { json: { items: [release(5, { current: true }), release(3)] } });
  control.on("POST /v1/apps/hello/rollback", { json: deployment({}), status: 202 });
  control.on("GET /v1/apps/hello/deployments/deployment-1", {
    items: [deployment({ state: "complete", step: "done" })],
  });
  const { code, out, err } = await control.flynn("rollback -a hello v3");
  assert.equal([code, out], [0, "Deployed v3 of hello\n"], err);
  for (const words of [
    "rolling hello back to v3: its image, variables and processes",
    "not undone: data and resources, what release phases did (such as migrations), routes, scale",
    "to undo this: flynn -a hello rollback v5",
  ])
    assert.ok(err.includes(words), err);
  control.on("POST /v1/apps/hello/rollback", {
    fault: "gone",
    message: "v1 was collected: the last 10 releases are kept",
    status: 410,
  });
  const gone = await control.flynn("rollback -a hello v1");
  assert.is(gone.code, 1);
  assert.match(gone.err, /v1 was collected/);
  assert.not.match(gone.err, /rolling/);
});

test("deployment show names the job of its release phase", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/hello/deployments/deployment-1", {
    json: deployment({ state: "failed", releaseJobId: "job-9", reason: "release phase: job-9 ended with exit code 3" }),
  });
  const { out } = await control.flynn("deployment show -a hello deployment-1");
  assert.match(out, /Release phase: +job-9\n/);
  assert.match(out, /Reason: +release phase: job-9 ended with exit code 3\n/);
});

test("deployment show without an ID shows the one under way, else the newest, else says that there is none", async () => {
  const control = await fakeControl();
  const one = (n: number, state: string) => deployment({ id: `deployment-${n}`, toVersion: n, state });
  for (const n of [1, 2, 3]) control.on(`GET /v1/apps/hello/deployments/deployment-${n}`, { json: one(n, "x") });
  for (const [states, shown] of [
    [["pending", "running", "complete"], 2],
    [["complete", "failed", "complete"], 3],
    [["cancelled", "complete", "pending"], 1],
  ] as const) {
    const items = states.map((state, n) => one(3 - n, state));
    control.on("GET /v1/apps/hello/deployments", { json: { items } });
    const { code, out } = await control.flynn("deployment show -a hello");
    assert.is(code, 0);
    assert.match(out, new RegExp(`ID: +deployment-${shown}\\n`), states.join());
  }
  control.on("GET /v1/apps/hello/deployments", { json: { items: [] } });
  const none = await control.flynn("deployment show -a hello");
  assert.is(none.code, 3);
  assert.match(none.err, "hello has no deployments yet");
});

test.run();

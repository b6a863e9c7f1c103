// `flynn alerts`: what somebody should act on, as a table and as JSON, and a line of it in `flynn status`.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Alert } from "#api/alerts.ts";
import { closeFakes, fakeControl } from "./fake-control.ts";

test.after.each(closeFakes);

const alert: Alert = {
  id: "alert-1",
  kind: "host-lost",
  subject: { kind: "host", id: "h-1", name: "node-1" },
  severity: "critical",
  what: "host node-1 is lost",
  why: "silent for 10 s; its jobs are started on other hosts",
  next: "flynn host show node-1",
  since: "2026-01-01T00:00:00.000Z",
};
const warning: Alert = {
  ...alert,
  id: "alert-2",
  severity: "warning",
  what: "host node-2 is short of disk",
  next: "flynn host show node-2",
};
const over: Alert = { ...alert, id: "alert-0", clearedAt: "2026-01-01T00:05:00.000Z" };

test("alerts are a table, the worst first, with the command to run next", async () => {
  const control = await fakeControl();
  control.on("GET /v1/alerts", { json: { items: [warning, alert] } });
  const { code, out } = await control.flynn("alerts");
  assert.is(code, 0);
  const lines = out.trimEnd().split("\n");
  assert.match(lines[0]!, /^ID +STATE +SINCE +WHAT +NEXT$/);
  assert.match(lines[1]!, /^alert-1 +critical +\S+ ago +host node-1 is lost +flynn host show node-1$/);
  assert.match(lines[2]!, /^alert-2 +warning /);
  assert.equal(control.asked[0]!.query, { state: "active" });
});

test("--all asks for those that are over too, and they come last; --json is all there is to know", async () => {
  const control = await fakeControl();
  control.on("GET /v1/alerts", { json: { items: [over, alert] } });
  const { out } = await control.flynn("alerts --all");
  assert.match(out, /alert-1 +critical[^\n]+\nalert-0 +cleared/);
  assert.equal(control.asked[0]!.query, { state: "all" });
  assert.equal(JSON.parse((await control.flynn("alerts --json")).out), [alert, over]);
});

test("where nothing needs anybody, that is said, and stdout stays empty", async () => {
  const control = await fakeControl();
  control.on("GET /v1/alerts", { json: { items: [] } });
  const { code, out, err } = await control.flynn("alerts");
  assert.equal([code, out, err], [0, "", "nothing needs anybody\n"]);
});

test("one alert is shown whole; one that is not there says where they are listed", async () => {
  const control = await fakeControl();
  control.on("GET /v1/alerts/alert-1", { json: alert });
  control.on("GET /v1/alerts/none", { fault: "not-found", message: "no alert none", status: 404 });
  const { out } = await control.flynn("alert show alert-1");
  assert.match(out, /Why: +silent for 10 s; its jobs are started on other hosts/);
  assert.match(out, /Next: +flynn host show node-1/);
  const { code, err } = await control.flynn("alert show none");
  assert.is(code, 3);
  assert.match(err, /flynn alerts --all/);
});

const status = {
  version: "0.1.0",
  clusterId: "c",
  term: 1,
  seq: 1,
  startedAt: "2026-01-01T00:00:00.000Z",
  state: "ok",
  parts: [],
  counts: { machines: 0, hosts: 0, hostsReady: 0, apps: 0, jobs: 0, jobsUp: 0, routes: 0 },
};

test("status has a line of what stands; none where nothing does, or where control knows of no alerts", async () => {
  const control = await fakeControl();
  const line = async (alerts: object | undefined) => {
    control.on("GET /v1/status", { json: { ...status, ...(alerts ? { alerts } : {}) } });
    return (await control.flynn("status")).out.split("\n").find((each) => each.includes("flynn alerts"));
  };
  assert.is(
    await line({ critical: 1, warning: 2, newest: [alert] }),
    "1 critical alert, 2 warnings: host node-1 is lost; see them: flynn alerts",
  );
  assert.is(
    await line({ critical: 0, warning: 1, newest: [warning] }),
    "1 warning: host node-2 is short of disk; see them: flynn alerts",
  );
  assert.is(await line({ critical: 0, warning: 0, newest: [] }), undefined);
  assert.is(await line(undefined), undefined);
});

test.run();

// `flynn version`, and the command beside a control of another version.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { HELLO_HEADER } from "#api/version.ts";
import { VERSION } from "#lib/version.ts";
import { closeFakes, fakeControl } from "./fake-control.ts";
import { invoke } from "./invoke.ts";

test.after.each(closeFakes);

const NEWER = "control/9.0.0 protocol=9 oldest=1 can=alerts,teleport";
const TOO_NEW = "control/9.0.0 protocol=9 oldest=9";

test("version shows the command's own and the server's", async () => {
  const control = await fakeControl();
  control.on("GET /healthz", { json: { ok: true } });
  control.hello = NEWER;
  const { code, out } = await control.flynn("version");
  assert.equal([code, out], [0, `flynn ${VERSION}\ncluster fake: 9.0.0, protocol 9\n`]);
  const asJson = JSON.parse((await control.flynn("version --json")).out);
  assert.equal([asJson.version, asJson.cluster], [VERSION, "fake"]);
  assert.equal(asJson.server, {
    part: "control",
    version: "9.0.0",
    protocol: 9,
    oldestProtocol: 1,
    capabilities: ["alerts", "teleport"],
  });
});

test("version shows the command's own where there is no cluster, where none answers and where one says nothing", async () => {
  const none = await invoke(["version"], { env: { FLYNN_HOME: "/nonexistent" } });
  assert.equal([none.code, none.out, none.err], [0, `flynn ${VERSION}\n`, ""]);
  const control = await fakeControl();
  control.on("GET /healthz", { json: { ok: true } });
  const silent = await control.flynn("version");
  assert.equal([silent.code, silent.out], [0, `flynn ${VERSION}\n`]);
  assert.match(silent.err, /cluster fake does not say its version: it is older than this command/);
  control.on("GET /healthz", { drop: true });
  const away = await control.flynn("version");
  assert.equal([away.code, away.out], [0, `flynn ${VERSION}\n`]);
  assert.match(away.err, /cluster fake does not answer/);
  assert.not.equal((await control.flynn("version -c other")).code, 0);
});

test("every request says which command asks", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps", { json: { items: [] } });
  await control.flynn("apps");
  assert.match(String(control.asked[0]!.headers[HELLO_HEADER]), new RegExp(`^cli/${VERSION} protocol=1 oldest=1$`));
});

test("answers of a newer control that this command can read are read, what it does not know of them is passed over", async () => {
  const control = await fakeControl();
  control.hello = NEWER;
  control.on("GET /v1/alerts", {
    json: { items: [], weather: "fine" },
  });
  const { code, err } = await control.flynn("alerts");
  assert.equal([code, err], [0, "nothing needs anybody\n"]);
});

test("a control that this command is too old for is said so, with what to do, and version shows it all the same", async () => {
  const control = await fakeControl();
  control.hello = TOO_NEW;
  control.on("GET /v1/apps", { json: { items: [] } });
  control.on("GET /healthz", { json: { ok: true } });
  const { code, out, err } = await control.flynn("apps");
  assert.equal([code, out], [1, ""]);
  assert.match(
    err,
    /this flynn command is too old: \S+ speaks protocol 1, and control, 9\.0\.0, needs 9; install flynn 9\.0\.0/,
  );
  const version = await control.flynn("version");
  assert.equal([version.code, version.out], [0, `flynn ${VERSION}\ncluster fake: 9.0.0, protocol 9\n`]);
  assert.match(version.err, /too old/);
});

test("what a control refuses in its own words is shown as it said it", async () => {
  const control = await fakeControl();
  control.hello = TOO_NEW;
  control.on("GET /v1/apps", { fault: "incompatible", message: "install flynn 9.0.0", status: 400 });
  const { code, err } = await control.flynn("apps");
  assert.is(code, 1);
  assert.match(err, /install flynn 9\.0\.0/);
});

test.run();

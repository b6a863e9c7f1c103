// How a command fails: one error, in words or as JSON, and an exit code that says which kind it is.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { FAULTS } from "#api/fault.ts";
import { closeFakes, fakeControl } from "./fake-control.ts";
import { invoke } from "./invoke.ts";

test.after.each(closeFakes);

const nowhere = { env: { FLYNN_HOME: "/nonexistent" } };

for (const [argv, code, message] of [
  [["nothing-like-this", "--json"], "invalid", "nothing-like-this is not a command; see `flynn help`"],
  [["--json", "login"], "invalid", /^login is not a command here: a cluster is added once/],
  [["apps", "--json"], "not-found", /^no cluster is known here yet/],
  [["env", "get", "--json"], "invalid", "env get needs NAME: flynn env get <NAME>"],
  [["log", "--nope", "--json"], "invalid", "log has no flag --nope; see `flynn help log`"],
] as const)
  test(`flynn ${argv.join(" ")}: the error is one JSON object on stderr, stdout is empty`, async () => {
    const { code: exit, out, err } = await invoke([...argv], nowhere);
    const told = JSON.parse(err) as { code: string; message: string; exit: number; retry: boolean };
    assert.equal(
      [told.code, told.exit, told.retry, exit, out],
      [code, FAULTS[code].exit, false, FAULTS[code].exit, ""],
    );
    if (typeof message === "string") assert.is(told.message, message);
    else assert.match(told.message, message);
  });

test("what control refuses is told as it was: its code, its words, which request it was", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps", {
    status: 403,
    json: { code: "forbidden", message: "no", retry: false, requestId: "r-1" },
  });
  const { code, err } = await control.flynn("apps --json");
  const told = JSON.parse(err) as Record<string, unknown>;
  assert.equal([code, told["code"], told["exit"]], [4, "forbidden", 4]);
  assert.match(String(told["message"]), "no");
});

test("without --json it is a line for people; what runs elsewhere does not ask for JSON by its own flag", async () => {
  assert.match((await invoke(["apps"], nowhere)).err, /^error: no cluster is known here yet/);
  assert.match((await invoke(["run", "-a", "x", "ls", "--json"], nowhere)).err, /^error: no cluster is known here yet/);
});

const PART = { name: "router", message: "" };
for (const [state, exit] of [
  ["ok", 0],
  ["degraded", 0],
  ["down", 1],
] as const)
  test(`status exits ${exit} while a part is ${state}, with --json as well`, async () => {
    const control = await fakeControl();
    const counts = { hosts: 0, hostsReady: 0, machines: 0, apps: 0, jobs: 0, jobsUp: 0, routes: 0 };
    const json = {
      state,
      version: "0.1.0",
      seq: 1,
      startedAt: "2026-01-01T00:00:00Z",
      counts,
      parts: [{ ...PART, state }],
    };
    control.on("GET /v1/status", { json });
    assert.is((await control.flynn("status")).code, exit);
    assert.is((await control.flynn("status --json")).code, exit);
  });

test("-y goes on without the question; an app that is named twice, and differently, is not deleted", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/blog", { json: { id: "app-1", name: "blog", strategy: "rolling", createdAt: "" } });
  control.on("GET /v1/routes", { json: { items: [] } });
  control.on("GET /v1/apps/blog/jobs", { json: { items: [] } });
  control.on("DELETE /v1/apps/blog", { json: {} });
  assert.is((await control.flynn("delete blog")).code, 2);
  assert.match((await control.flynn("delete blog -a shop -y")).err, "blog or shop? Name the app to delete once");
  const deletes = () => control.asked.filter(({ what }) => what.startsWith("DELETE")).length;
  assert.is(deletes(), 0);
  assert.equal(await control.flynn("delete blog -y").then(({ code, out }) => [code, out]), [0, "Deleted blog\n"]);
  assert.is((await control.flynn("apps:destroy -a blog --yes")).code, 0);
  assert.is(deletes(), 2);
});

test("bare deploy takes the folder it is called in, and says which", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/hello", { status: 404, json: { code: "not-found", message: "no app hello", retry: false } });
  const { code, err } = await control.flynn("deploy -a hello");
  assert.is(code, 3);
  assert.match(err, /^deploying the working tree in \//);
  assert.match(err, "no app hello; create it first: flynn create hello");
});

test.run();

// What of cloud-init's reports is worth a line on a machine's timeline, and how it is said.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { progressOf } from "../../../bootstrap/http/progress.ts";

const of = (report: Record<string, unknown>) =>
  progressOf(JSON.stringify({ name: "init-network", event_type: "finish", result: "SUCCESS", ...report }));

test("an outer stage begins, is done, or ended with what it ended with", () => {
  const detail = { name: "init-network" };
  assert.equal(of({ event_type: "start" }), { message: "cloud-init init-network begins", level: "info", detail });
  assert.equal(of({}), { message: "cloud-init init-network is done", level: "info", detail });
  assert.equal(of({ result: "" }), { message: "cloud-init init-network is done", level: "info", detail });
  assert.equal(of({ result: undefined }), { message: "cloud-init init-network is done", level: "info", detail });
  assert.equal(of({ event_type: "start", result: "FAIL" })?.level, "info", "a start has no result");
  assert.equal(of({ result: "FAIL", description: "running module" }), {
    message: "cloud-init init-network ended with FAIL",
    level: "warning",
    detail: { code: "cloud-init-failed", name: "init-network", result: "FAIL", description: "running module" },
  });
});

test("of inner stages only failures are told", () => {
  assert.is(of({ name: "modules-final/config-scripts" }), undefined);
  assert.is(of({ name: "modules-final/config-scripts", event_type: "start" }), undefined);
  assert.match(
    of({ name: "modules-final/config-scripts", result: "WARN" })!.message,
    /config-scripts ended with WARN$/,
  );
});

test("what is no report, or names nothing, is none; what it says is bounded and moves no cursor", () => {
  for (const body of ["", "[", "null", "3", '"text"', "[]"]) assert.is(progressOf(body), undefined, body);
  for (const report of [{ name: "" }, { name: "a b" }, { name: "x".repeat(81) }, { name: 7 }, { event_type: "log" }])
    assert.is(of(report), undefined, JSON.stringify(report));
  assert.is(of({ name: "x".repeat(80) })?.detail["name"], "x".repeat(80));
  const { detail } = of({ result: "\u001b[2J", description: "y".repeat(300) })!;
  assert.equal([detail["result"], detail["description"]], ["?[2J", "y".repeat(200)]);
});

test.run();

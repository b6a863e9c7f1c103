// Deployments as they are stored and shown: in the order they were asked for, with what they wait for, and as much log as fits.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { hasEnded } from "#api/deployments.ts";
import type { LogLine } from "#api/logs.ts";
import {
  type DeploymentRecord,
  deploymentsOf,
  fittingTail,
  isComing,
  shownDeployment,
} from "../../../control/deploy/record.ts";
import { keys } from "../../../control/keys.ts";
import { kept } from "../kept.ts";

const deployment = (id: string, over: Partial<DeploymentRecord> = {}): DeploymentRecord =>
  ({
    id,
    appId: "a",
    state: "pending",
    toVersion: 2,
    step: "waits",
    createdAt: "2026-01-01T00:00:00Z",
    before: {},
    ...over,
  }) as DeploymentRecord;

test("a deployment is over when it is complete, failed or cancelled, and coming until then unless it turns back", () => {
  const of = (over: Partial<DeploymentRecord>) => [hasEnded(deployment("d", over)), isComing(deployment("d", over))];
  assert.equal(
    [of({ state: "pending" }), of({ state: "running" })],
    [
      [false, true],
      [false, true],
    ],
  );
  for (const state of ["complete", "failed", "cancelled"] as const) assert.equal(of({ state }), [true, false], state);
  assert.equal(
    [of({ cancel: "ann" }), of({ goingBack: "failed" })],
    [
      [false, false],
      [false, false],
    ],
  );
});

test("one that waits its turn says for what, and what is control's own is shown to nobody", () => {
  const own = { hadHealthy: { web: 1 }, cancel: "ann", releasing: true, order: 7 } as const;
  const { before: _, ...public_ } = deployment("d");
  assert.equal(shownDeployment(deployment("d", own), undefined), public_);
  const step = (ahead: Partial<DeploymentRecord>, over: Partial<DeploymentRecord> = {}) =>
    shownDeployment(deployment("d", over), deployment("e", { toVersion: 1, ...ahead })).step;
  assert.is(step({}), "queued: v1 is deployed first");
  assert.is(step({ goingBack: "failed" }), "queued: v1 failed and goes back first");
  assert.is(step({ goingBack: "cancelled" }), "queued: v1 was cancelled and goes back first");
  assert.is(step({}, { state: "running" }), "waits");
  assert.is(step({ id: "d" }), "waits", "it is itself the first");
});

test("they are in the order they were asked for, whatever the clock said; those of before there were numbers by time and version", () => {
  const all = [
    deployment("n3", { order: 3, createdAt: "2025-01-01T00:00:00Z" }),
    deployment("n1", { order: 1 }),
    deployment("late", { createdAt: "2026-01-02T00:00:00Z" }),
    deployment("v3", { toVersion: 3 }),
    deployment("v2", { toVersion: 2 }),
    deployment("n2", { order: 2 }),
  ];
  const ids = (list: DeploymentRecord[]) =>
    deploymentsOf(kept(Object.fromEntries(list.map((each, n) => [keys.deployment("a", `${n}`), each]))), "a").map(
      ({ id }) => id,
    );
  const wanted = ["v2", "v3", "late", "n1", "n2", "n3"];
  assert.equal([ids(all), ids(all.toReversed())], [wanted, wanted]);
  assert.equal(deploymentsOf(kept({ [keys.deployment("b", "1")]: deployment("x") }), "a"), []);
});

test("of a log the newest thirty lines are kept, as many as fit into 8 KiB, in plain text", () => {
  const line = (text: string): LogLine => ({ at: "t", app: "a", source: "app", stream: "stdout", line: text });
  const texts = (lines: LogLine[]) => fittingTail(lines).map(({ line: text }) => text);
  const numbered = Array.from({ length: 40 }, (_, n) => line(`${n}`));
  assert.equal(
    texts(numbered),
    Array.from({ length: 30 }, (_, n) => `${n + 10}`),
  );
  assert.equal(texts([]), []);
  assert.equal(texts([line("a\u001b[2Jb")]), ["a?[2Jb"]);
  const empty = Buffer.byteLength(JSON.stringify(line("")));
  const filled = (bytes: number) => line("x".repeat(bytes - empty));
  const fit = (last: number) =>
    texts([line("old"), filled(last), ...Array.from({ length: 25 }, () => filled(320))]).length;
  assert.equal([fit(192), fit(193)], [26, 25], "8,192 bytes and not one more");
});

test.run();

// Limits as people write them are checked where they are written, in the same words.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { limitChanges } from "../../cli/commands/limits.ts";
import { closeFakes, fakeControl } from "./fake-control.ts";

test.after.each(closeFakes);

test("limits become fields, and an empty one takes its field away", () => {
  assert.equal(limitChanges(["memory=512MiB", "cpu=0.5", "pids=100", "disk="]), {
    memoryBytes: 512 * 1024 ** 2,
    cpuMillis: 500,
    pids: 100,
    diskBytes: null,
  });
});

for (const [word, said] of [
  ["memory=1", /^memory=1: must be a size such as 512MB, from 4 MiB to /],
  ["memory=9000TB", /^memory=9000TB: must be a size such as 512MB, from 4 MiB to 1024 TiB$/],
  ["memory=much", /^memory=much: must be a size such as 512MB$/],
  ["cpu=9m", /^cpu=9m: must be CPUs such as 0.5 or 2, or thousandths of one such as 500m, from 0.01 to 1000$/],
  ["cpu=500", /^cpu=500: must be CPUs such as 0.5 or 2, or thousandths of one such as 500m$/],
  ["cpu=0.5m", /^cpu=0.5m: must be CPUs such as 0.5 or 2, or thousandths of one such as 500m$/],
  ["pids=1", /^pids=1: must be a number such as 200, from 8 to 65536$/],
  ["disk=1MB", /^disk=1MB: must be a size such as 10GB, from 16 MiB to /],
  ["fast=1", /^fast=1 is no limit; there are memory, cpu, pids, disk/],
] as const)
  test(`limit set web ${word} is refused in the words it was written in`, () => {
    assert.throws(
      () => limitChanges([word]),
      (error: Error) => said.test(error.message),
    );
  });

test("CPU is taken as CPUs and as thousandths, and is the same", () => {
  for (const [word, millis] of [
    ["cpu=1", 1_000],
    ["cpu=0.25", 250],
    ["cpu=250m", 250],
    ["cpu=2.5", 2_500],
    ["cpu=1500m", 1_500],
  ] as const)
    assert.equal(limitChanges([word]), { cpuMillis: millis }, word);
});

test("limits that are so already make no release, unless the app is headed for another one", async () => {
  const control = await fakeControl();
  const release = {
    ...{ id: "release-3", appId: "app-1", version: 3, artifactId: "artifact-1", envNames: [], description: "" },
    ...{ createdAt: "2026-01-01T00:00:00Z", createdBy: "ann", current: true },
    processes: { web: { port: 8080, memoryBytes: 1e9, cpuMillis: 500 } },
  };
  const deployment = { id: "deployment-1", state: "complete", toVersion: 3 };
  control.on("GET /v1/apps/hello/releases", {
    json: { items: [{ ...release, id: "r4", version: 4, current: false }, release] },
  });
  control.on("GET /v1/apps/hello/deployments", { json: { items: [deployment] } });
  control.on("POST /v1/apps/hello/releases", { json: { ...release, id: "release-5", version: 5 }, status: 201 });
  const limits = (words: string) => control.flynn(`limit set web ${words} --detach -a hello`);
  const made = () => control.asked.filter(({ what }) => what.startsWith("POST")).length;
  for (const same of ["memory=1GB cpu=500m", "cpu=0.5", "pids=", "disk= memory=1GB"]) {
    const { code, out, err } = await limits(same);
    assert.equal([code, out, err], [0, "Nothing changed: v3 of hello has these limits already\n", ""], same);
  }
  assert.is(JSON.parse((await limits("cpu=0.5 --json")).out).unchanged, true);
  assert.is(made(), 0);
  for (const other of ["memory=2GB cpu=0.5", "memory=", "pids=256"]) assert.is((await limits(other)).code, 0, other);
  assert.is(made(), 3);
  control.on("GET /v1/apps/hello/deployments", { json: { items: [{ ...deployment, state: "running" }] } });
  assert.is((await limits("cpu=0.5")).out, "hello v5: limits set\n");
  assert.is(made(), 4);
});

test.run();

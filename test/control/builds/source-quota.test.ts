// How many builds of an app wait, and how much their sources may be: refused in words that say what to do.
import { Readable } from "node:stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp } from "#api/apps.ts";
import { createBuild } from "#api/builds.ts";
import { type Fault, isFault } from "#api/fault.ts";
import type { BuildRecord } from "../../../control/builds/record.ts";
import { checkSources } from "../../../control/builds/source-quota.ts";
import { withRig } from "../rig.ts";
import { archive } from "./world.ts";

const MIB = 1 << 20;
const build = (number: number, sizeBytes: number, state: BuildRecord["state"] = "queued"): BuildRecord =>
  ({ number, state, source: { type: "archive", sha256: "", sizeBytes } }) as BuildRecord;
const refusal = (...wish: Parameters<typeof checkSources>): Fault => {
  try {
    checkSources(...wish);
  } catch (error) {
    if (isFault(error)) return error;
    throw error;
  }
  throw new Error("was taken");
};

test("twenty builds may wait, and their sources may be so much together; those that ended count nothing", () => {
  const twenty = Array.from({ length: 20 }, (_, n) => build(n + 1, 1));
  assert.match(
    refusal("hello", twenty, { mostBytes: MIB }).message,
    /^app hello has 20 builds waiting already. Wait for their end, or cancel one: flynn -a hello build cancel 20$/,
  );
  checkSources("hello", [...twenty.slice(1), build(1, 2 * MIB, "failed")], { mostBytes: MIB });
  const full = refusal("hello", [build(1, MIB), build(2, MIB)], { mostBytes: 2 * MIB, needBytes: 1 });
  assert.equal([full.code, full.retry], ["rate-limited", true]);
  assert.match(full.message, /the sources of the 2 builds of hello that have not ended are 2 MiB; with this one/);
  const large = refusal("hello", [], { mostBytes: MIB, needBytes: 2 * MIB });
  assert.equal([large.code, large.retry], ["too-large", false]);
  assert.match(large.message, /flynn up --app-source-limit/);
});

test("a source is taken in up to what the setting says, and no byte beyond reaches the disk", () =>
  withRig(
    async ({ admin }) => {
      await admin.call(createApp, { body: { name: "hello" } });
      const source = await archive({ Procfile: "web: x\n", zeros: Buffer.alloc(3 * MIB).toString("latin1") });
      const upload = Readable.from([source]);
      const fault = await admin
        .call(createBuild, { params: { app: "hello" }, query: {}, upload })
        .catch((error: Fault) => error);
      assert.ok(isFault(fault, "too-large"), String(fault));
      assert.match(fault.message, /larger than 2 MiB unpacked; to raise that: flynn up --app-source-limit/);
    },
    { loops: false, appSourceBytes: 2 * MIB },
  ));

test("small uploads that unpack to much are counted by what is kept of them", () =>
  withRig(
    async ({ admin }) => {
      await admin.call(createApp, { body: { name: "hello" } });
      const source = await archive({ Procfile: "web: x\n", zeros: Buffer.alloc(4 * MIB).toString("latin1") });
      const send = () =>
        admin.call(createBuild, { params: { app: "hello" }, query: {}, upload: Readable.from([source]) });
      const both = await Promise.allSettled([send(), send(), send()]);
      const taken = both.filter(({ status }) => status === "fulfilled");
      assert.is(taken.length, 2, JSON.stringify(both));
      const fault = await send().catch((error: Fault) => error);
      assert.ok(isFault(fault, "rate-limited"), String(fault));
    },
    { loops: false, appSourceBytes: 9 * MIB },
  ));

test.run();

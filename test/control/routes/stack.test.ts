// The stack over the API: two uploads and one switch, who may, and what is noted of the stack before.
import { Readable } from "node:stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { updateHost } from "#api/hosts.ts";
import { getStack, type StackPart, setStack, uploadStackImage } from "#api/stack.ts";
import { listEvents } from "#api/status.ts";
import { until } from "#lib/time.ts";
import { restingImages } from "../../../control/image-sweep.ts";
import { keys } from "../../../control/keys.ts";
import { nextStack } from "../../../control/routes/stack.ts";
import { rig } from "../rig.ts";

const control = await rig();
test.after(() => control.close());

const { admin } = control;
const upload = async (part: StackPart, bytes: number) =>
  (await admin.call(uploadStackImage, { query: { part }, upload: Readable.from([Buffer.alloc(bytes)]) })).digest;
const refusal = (call: Promise<unknown>) =>
  call.then(
    () => undefined,
    (error: unknown) => (isFault(error) ? error : undefined),
  );

test("without a stack the answer names the command that makes one", async () => {
  const fault = await refusal(admin.call(getStack, {}));
  assert.is(fault?.code, "not-found");
  assert.match(fault?.message ?? "", "flynn stack build");
});

test("two uploaded images become the stack together, and the switch is an event", async () => {
  const [builder, runner] = [await upload("builder", 10), await upload("runner", 20)];
  assert.is((await refusal(admin.call(getStack, {})))?.code, "not-found", "an upload alone changes nothing");
  const stack = await admin.call(setStack, { body: { name: "flynn-12", builder, runner } });
  assert.equal(stack.builder, { repository: "stack/builder", digest: builder });
  assert.equal(stack.runner, { repository: "stack/runner", digest: runner });
  assert.equal(stack.superseded, []);
  assert.equal(await admin.call(getStack, {}), stack);
  const { items } = await admin.call(listEvents, {});
  assert.ok(items.some(({ type, message }) => type === "stack" && message.includes("flynn-12")));
});

test("the next stack notes what it replaced; a part that stays needs no upload", async () => {
  const before = await admin.call(getStack, {});
  const builder = await upload("builder", 11);
  const after = await admin.call(setStack, { body: { name: "flynn-12", builder, runner: before.runner.digest } });
  assert.equal(
    after.superseded.map(({ part, digest }) => ({ part, digest })),
    [{ part: "builder", digest: before.builder.digest }],
  );
});

test("a replaced image leaves the registry later, one that is in use again does not", async () => {
  const [first, second] = [await upload("builder", 101), await upload("builder", 102)];
  const { runner } = await admin.call(getStack, {});
  await admin.call(setStack, { body: { name: "flynn-12", builder: second, runner: runner.digest } });
  const later = () => restingImages(control.store, Date.now() + 2 * 3_600_000);
  const removed = () => later().remove.map(({ value }) => value.digest);
  assert.ok(removed().includes(first), "an upload that never became the stack");
  assert.not.ok(removed().includes(second));
  assert.equal(restingImages(control.store, Date.now()), { remove: [], forget: [] }, "and none of them at once");
  const third = await upload("builder", 103);
  await admin.call(setStack, { body: { name: "flynn-12", builder: third, runner: runner.digest } });
  assert.ok(removed().includes(second));
  assert.is(await upload("builder", 102), second);
  await admin.call(setStack, { body: { name: "flynn-12", builder: second, runner: runner.digest } });
  assert.not.ok(removed().includes(second));
});

test("what a build began on stays in the registry until the build has ended, whatever the stack is by then", async () => {
  const [old, fresh] = [await upload("builder", 201), await upload("builder", 202)];
  const { runner } = await admin.call(getStack, {});
  const build = { id: "b1", appId: "a1", number: 1, state: "running" };
  const plan = {
    settings: {},
    buildpacks: [],
    stack: { builder: { repository: "stack/builder", digest: old }, runner },
  };
  const put = (state: string) => [
    { key: keys.build("a1", "b1"), value: { ...build, state } },
    { key: keys.buildPlan("a1", "b1"), value: plan },
  ];
  await admin.call(setStack, { body: { name: "flynn-12", builder: fresh, runner: runner.digest } });
  const later = () => restingImages(control.store, Date.now() + 2 * 3_600_000);
  const removed = () => later().remove.map(({ value }) => value.digest);
  const spokenOf = () => [...later().remove, ...later().forget].map(({ value }) => value.digest);
  assert.ok(removed().includes(old));
  // Looked at in the same turn: control itself soon finds that this build has no app.
  const kept = control.store.commit({ actor: "test", mutations: put("running") }).then(() => !spokenOf().includes(old));
  assert.ok(await kept, "neither removed nor forgotten");
  await control.store.commit({ actor: "test", mutations: put("failed") });
  assert.ok(removed().includes(old));
});

test("each host where builds may come is told at once to fetch a new stack: those tagged `build`, else all", async () => {
  const [first, second] = [await control.host(), await control.host()];
  for (const host of [first, second]) host.start();
  const told = (what: string, probe: () => boolean) => until(probe, { what, timeoutMs: 10_000, everyMs: 10 });
  const prefetch = () => [first, second].map((host) => host.target?.stack?.prefetch);
  await told("both to fetch", () => prefetch().every((each) => each === true));
  await admin.call(updateHost, { params: { id: second.id }, body: { tags: { build: "yes" } } });
  await told("one to fetch", () => prefetch().join() === "false,true");
  const builder = await upload("builder", 301);
  const { runner } = await admin.call(getStack, {});
  await admin.call(setStack, { body: { name: "flynn-12", builder, runner: runner.digest } });
  await told("the new builder", () => second.target?.stack?.builder.endsWith(builder) === true);
  for (const host of [first, second]) await host.stop();
});

test("a digest that was not uploaded as that part is refused and changes nothing", async () => {
  const before = await admin.call(getStack, {});
  const foreign = `sha256:${"0".repeat(64)}`;
  for (const body of [
    { name: "x", builder: foreign, runner: before.runner.digest },
    { name: "x", builder: before.builder.digest, runner: before.builder.digest },
  ])
    assert.is((await refusal(admin.call(setStack, { body })))?.code, "invalid");
  assert.equal(await admin.call(getStack, {}), before);
});

test("a token for apps may read or change no stack", async () => {
  const client = control.client({ token: await control.tokenWith(["app:read", "app:write"]) });
  const body = { name: "x", builder: `sha256:${"0".repeat(64)}`, runner: `sha256:${"0".repeat(64)}` };
  for (const call of [
    client.call(getStack, {}),
    client.call(setStack, { body }),
    client.call(uploadStackImage, { query: { part: "runner" }, upload: Readable.from([Buffer.alloc(1)]) }),
  ])
    assert.is((await refusal(call))?.code, "forbidden");
});

test("only the newest twenty replaced images are noted, and none that is in use again", () => {
  let stack = nextStack(undefined, { name: "s", builder: "b0", runner: "r0" }, new Date(0));
  for (let n = 1; n <= 30; n++) stack = nextStack(stack, { name: "s", builder: `b${n}`, runner: "r0" }, new Date(n));
  assert.is(stack.superseded.length, 20);
  assert.is(stack.superseded[0]?.digest, "b29");
  stack = nextStack(stack, { name: "s", builder: "b25", runner: "r0" }, new Date(31));
  assert.not.ok(stack.superseded.some(({ digest }) => digest === "b25"));
});

test.run();

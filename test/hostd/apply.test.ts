import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault } from "#api/fault.ts";
import { until } from "#lib/time.ts";
import { keepAddresses } from "../../hostd/addresses.ts";
import { createApply, StartError, type StepContext, startReason } from "../../hostd/apply.ts";
import { addressTaken } from "../../hostd/engine/engine.ts";
import { fakeEngine } from "../../hostd/engine/fake.ts";
import { unkeptReach } from "../../hostd/reach/reach.ts";
import { job, target } from "./jobs.ts";

function rig() {
  const engine = fakeEngine();
  const progress: string[] = [];
  const context: StepContext = {
    target: target([job()]),
    signal: new AbortController().signal,
    onProgress: (reason) => progress.push(reason),
  };
  const addresses = keepAddresses();
  const options = { engine, dns: () => ["100.64.7.1"], addresses, reach: unkeptReach };
  const apply = createApply({ ...options, pullAttempts: 3, pullBackoffMs: 1 });
  return { engine, progress, context, apply, create: { do: "create", job: job(), attempt: 2 } as const };
}
const caught = (promise: Promise<void>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

test("a start pulls, makes the network, creates and starts, in that order", async () => {
  const { engine, apply, create, context, progress } = rig();
  await apply(create, context);
  assert.equal(
    engine.calls.map((call) => call.split(" ")[0]),
    ["pull", "ensureNetwork", "create", "start"],
  );
  const { spec, status } = engine.containers.get("flynn-j1")!;
  assert.is(status, "running");
  assert.is(spec.labels["flynn.attempt"], "2");
  assert.equal(spec.dns, ["100.64.7.1"]);
  assert.equal(progress, ["pulling image", "creating container"]);
});

test("a pull is tried a few times, each told with the reason before, then the start has failed", async () => {
  const { engine, apply, create, context, progress } = rig();
  engine.fail("pull", new Fault("unavailable", "429 too many requests"));
  const error = await caught(apply(create, context));
  assert.instance(error, StartError);
  assert.is((error as Error).message, "pull failed 3 times: 429 too many requests");
  assert.equal(progress, [
    "pulling image",
    "pulling image, attempt 2: 429 too many requests",
    "pulling image, attempt 3: 429 too many requests",
  ]);
  assert.is(engine.containers.size, 0);
});

test("an image of another architecture is not tried again", async () => {
  const { engine, apply, create, context } = rig();
  engine.fail("pull", new Fault("invalid", "image hello is for arm64, this host is amd64"));
  const error = await caught(apply(create, context));
  assert.is((error as Error).message, "image hello is for arm64, this host is amd64");
  assert.is(engine.calls.length, 1);
});

test("a refused start leaves no container behind; one without an answer does, to be looked at again", async () => {
  const refused = rig();
  refused.engine.fail(
    "start",
    new Fault("internal", "start", { cause: new Error("(HTTP code 400) bad - no space left") }),
  );
  const error = await caught(refused.apply(refused.create, refused.context));
  assert.instance(error, StartError);
  assert.is((error as Error).message, "could not be started: no space left");
  assert.is(refused.engine.containers.size, 0);
  const silent = rig();
  silent.engine.fail("start", new Fault("timeout", "start: the engine does not answer"));
  assert.not.instance(await caught(silent.apply(silent.create, silent.context)), StartError);
  assert.is(silent.engine.containers.size, 1);
});

test("a container is made while its rules are still on their way, and started only once they are in force", async () => {
  const { engine, create, context } = rig();
  const inForce = Promise.withResolvers<void>();
  const reach = { ...unkeptReach, admit: () => inForce.promise };
  const options = { engine, dns: () => [], addresses: { take: () => "100.64.7.2" }, reach };
  const done = createApply(options)(create, context);
  await until(() => engine.containers.get("flynn-j1"), { what: "the container", timeoutMs: 5_000 });
  assert.is(engine.containers.get("flynn-j1")?.status, "created");
  inForce.resolve();
  await done;
  assert.is(engine.containers.get("flynn-j1")?.status, "running");

  const refused = rig();
  const never = {
    ...unkeptReach,
    admit: () => Promise.reject(new Error("its network rules are not in the kernel yet")),
  };
  await caught(createApply({ ...options, engine: refused.engine, reach: never })(refused.create, refused.context));
  assert.is(refused.engine.containers.size, 0);
});

test("jobs that start together ask for the network once", async () => {
  const { engine, apply, create, context } = rig();
  await Promise.all(["j1", "j2", "j3"].map((id) => apply({ ...create, job: job({ id }) }, context)));
  assert.is(engine.calls.filter((call) => call.startsWith("ensureNetwork")).length, 1);
  assert.is(engine.containers.size, 3);
});

test("a job gets an address of the host's choice; one that Docker holds is passed over", async () => {
  const { engine, apply, create, context } = rig();
  const { spec } = await apply(create, context).then(() => engine.containers.get("flynn-j1")!);
  assert.is(spec.address, "100.64.7.2");
  // Not ours, and so not in the list that the choice is made by.
  engine.add({ ...spec, name: "by-hand", labels: {}, address: "100.64.7.3" }, "running");
  await apply({ ...create, job: job({ id: "j2" }) }, context);
  assert.is(engine.containers.get("flynn-j2")?.address, "100.64.7.4");
  assert.is(engine.containers.get("flynn-j2")?.status, "running");
});

test("when every address is refused the start has failed, and nothing is left of it", async () => {
  const { engine, apply, create, context } = rig();
  engine.fail("start", addressTaken("start container flynn-j1"));
  const error = await caught(apply(create, context));
  assert.instance(error, StartError);
  assert.is((error as Error).message, "start container flynn-j1: its address is in use");
  assert.is(engine.containers.size, 0);
  const full = createApply({ engine, dns: () => [], addresses: { take: () => undefined }, reach: unkeptReach });
  assert.is(((await caught(full(create, context))) as Error).message, "every address of 100.64.7.0/24 is in use");
});

test("two jobs of one image are one pull", async () => {
  const { engine, apply, create, context } = rig();
  const gate = engine.hang();
  const both = [apply(create, context), apply({ ...create, job: job({ id: "j2" }) }, context)];
  gate.release();
  await Promise.all(both);
  assert.is(engine.calls.filter((call) => call.startsWith("pull")).length, 1);
  assert.is(engine.containers.size, 2);
});

test("what Docker says of a refused start becomes plain words", () => {
  const docker = (text: string) =>
    new Fault("internal", "start", { cause: new Error(`(HTTP code 400) unexpected - ${text} `) });
  assert.is(
    startReason(
      docker(
        'failed to create shim task: OCI runtime create failed: exec: "serve": executable file not found in $PATH: unknown',
      ),
    ),
    'cannot run "serve": executable file not found in $PATH',
  );
  assert.match(
    startReason(docker("standard_init_linux.go:228: exec user process caused: exec format error")),
    /another architecture/,
  );
});

test.run();

// The jobs' bridge when this host is given another subnet.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault } from "#api/fault.ts";
import { isNetworkInUse } from "../../hostd/engine/engine.ts";
import { fakeEngine } from "../../hostd/engine/fake.ts";
import { jobNetwork } from "../../hostd/job-network.ts";

const BEFORE = { subnet: "100.64.7.0/24" };
const NOW = { subnet: "100.64.8.0/22" };
const signal = new AbortController().signal;

function rig() {
  const engine = fakeEngine();
  let changes = 0;
  const network = jobNetwork({ engine, onChange: () => changes++ });
  const run = (name: string) =>
    engine.add({ name, image: "i", labels: {}, env: {}, hostname: name, network: "flynn" } as never, "running");
  return { engine, network, run, changes: () => changes };
}

test("one that is not there is left to the first job, and one that is right is left alone", async () => {
  const { engine, network, changes } = rig();
  await network.renew(NOW, signal);
  assert.is(engine.network, undefined);
  await network.ensure(NOW, signal);
  await network.renew(NOW, signal);
  assert.is(engine.calls.filter((call) => call === "ensureNetwork").length, 1);
  assert.is(engine.network?.gateway, "100.64.8.1");
  assert.equal([network.waits(), changes()], [undefined, 0]);
});

test("one of another subnet is made anew at once when nothing is on it", async () => {
  const { engine, network } = rig();
  await network.ensure(BEFORE, signal);
  await network.renew(NOW, signal);
  assert.equal([engine.network?.subnet, network.waits()], [NOW.subnet, undefined]);
});

test("while a container is on it, it stays, what it waits for is said once, and it is made anew after the last has ended", async () => {
  const { engine, network, run, changes } = rig();
  await network.ensure(BEFORE, signal);
  for (const name of ["flynn-a", "flynn-b", "flynn-c", "by-hand"]) run(name);
  for (let n = 0; n < 3; n++) await network.renew(NOW, signal);
  assert.is(engine.network?.subnet, BEFORE.subnet);
  const said =
    "network flynn has 100.64.7.0/24 until flynn-a, flynn-b, flynn-c and 1 more have ended; then it gets 100.64.8.0/22";
  assert.equal([network.waits(), changes()], [said, 1]);
  const refused = await network.ensure(NOW, signal).then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(isNetworkInUse(refused));
  for (const name of [...engine.containers.keys()]) engine.exit(name, 0);
  await network.renew(NOW, signal);
  assert.equal([engine.network?.subnet, network.waits(), changes()], [NOW.subnet, undefined, 2]);
});

test("another target that wants what is there ends the waiting", async () => {
  const { network, run } = rig();
  await network.ensure(BEFORE, signal);
  run("flynn-a");
  await network.renew(NOW, signal);
  assert.match(network.waits() ?? "", /^network flynn has/);
  await network.renew(BEFORE, signal);
  assert.is(network.waits(), undefined);
});

test("an engine that cannot make it is an error, and no waiting", async () => {
  const { engine, network } = rig();
  await network.ensure(BEFORE, signal);
  engine.fail("ensureNetwork", new Fault("unavailable", "create network: Pool overlaps"));
  const error = await network.renew(NOW, signal).then(
    () => undefined,
    (cause: unknown) => cause,
  );
  assert.match(String(error), /Pool overlaps/);
  assert.is(network.waits(), undefined);
});

test.run();

// Services outside of the cluster: registered, listed beside those of apps, looked at, and reached by the apps that a rule lets.
import { createServer } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp } from "#api/apps.ts";
import * as external from "#api/external-services.ts";
import { isFault } from "#api/fault.ts";
import { createNetworkRule, listNetworkRules } from "#api/network.ts";
import { getService, listServices } from "#api/services.ts";
import { listEvents } from "#api/status.ts";
import { until } from "#lib/time.ts";
import { dialTcp } from "../../../control/external/health.ts";
import { type Rig, withRig } from "../rig.ts";
import { surplus } from "../surplus.ts";

const faultOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => "no fault",
    (error: unknown) => (isFault(error) ? `${error.code}: ${error.message}` : String(error)),
  );
const register = (rig: Rig, over: Partial<{ name: string; address: string; port: number }> = {}) =>
  rig.admin.call(external.createExternalService, {
    body: { name: "legacy-db", address: "10.20.0.5", port: 5432, ...over },
  });
const show = (rig: Rig) => rig.admin.call(external.getExternalService, { params: { name: "legacy-db" } });

test("one is registered, listed with the services of apps, and says whether it answers; a change of that is an event", async () => {
  let failure: string | undefined;
  await withRig(
    async (rig) => {
      assert.is((await register(rig)).reason, "");
      const state = (wanted: string) =>
        until(async () => (await show(rig)).state === wanted, { what: wanted, timeoutMs: 10_000, everyMs: 20 });
      await state("up");
      const { items } = await rig.admin.call(listServices);
      assert.equal(
        items.map(({ name, external: outside, port, instances }) => [name, outside, port, instances[0]!.healthy]),
        [["legacy-db", true, 5432, true]],
      );
      failure = "the connection is refused";
      await state("unhealthy");
      assert.is((await show(rig)).reason, failure);
      const service = await rig.admin.call(getService, { params: { name: "legacy-db" } });
      assert.equal([service.instances[0]!.state, service.instances[0]!.healthy], ["unhealthy", false]);
      failure = undefined;
      await state("up");
      const events = (await rig.admin.call(listEvents)).items.reverse().map(({ type }) => type);
      assert.equal(
        events.filter((type) => type.startsWith("service.")),
        ["service.registered", "service.unhealthy", "service.up"],
      );
    },
    { external: { dial: async () => failure, everyMs: 20 } },
  );
});

test("an address with zeros before its numbers is refused: some read such a number as octal", () =>
  withRig(async (rig) => {
    for (const address of ["010.20.0.5", "10.20.0.05", "10.020.0.5", "10.20.00.5"])
      assert.match(await faultOf(register(rig, { address })), /^invalid: .*address/, address);
    assert.equal((await rig.admin.call(external.listExternalServices)).items, []);
  }));

test("a name means one thing: neither an app nor another service takes it, and it is free again when it is removed", () =>
  withRig(async (rig) => {
    await register(rig);
    assert.match(await faultOf(register(rig)), /^conflict: an app or service is named legacy-db already/);
    assert.match(await faultOf(rig.admin.call(createApp, { body: { name: "legacy-db" } })), /^conflict/);
    await rig.admin.call(createApp, { body: { name: "shop" } });
    assert.match(await faultOf(register(rig, { name: "shop" })), /^conflict/);
    await rig.admin.call(external.deleteExternalService, { params: { name: "legacy-db" } });
    assert.match(await faultOf(show(rig)), /^not-found/);
    await rig.admin.call(createApp, { body: { name: "legacy-db" } });
  }));

test("addresses of the machine itself, of links and of the platform are refused, also as a change", () =>
  withRig(
    async (rig) => {
      for (const address of ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "100.64.3.4", "10.99.0.7"])
        assert.match(await faultOf(register(rig, { address })), /^invalid: .*such as 10\.20\.0\.5/, address);
      await register(rig);
      const moved = rig.admin.call(external.updateExternalService, {
        params: { name: "legacy-db" },
        body: { address: "127.0.0.1" },
      });
      assert.match(await faultOf(moved), /^invalid/);
      assert.is((await show(rig)).address, "10.20.0.5");
    },
    { closedNetworks: ["10.99.0.0/24"] },
  ));

test("who may write apps may let one reach it, and may not register one; with the service its rules go", () =>
  withRig(async (rig) => {
    const tenant = rig.client({ token: await rig.tokenWith(["app:read", "app:write"]) });
    await rig.admin.call(createApp, { body: { name: "shop" } });
    const body = { name: "mine", address: "10.20.0.9", port: 22 };
    assert.match(await faultOf(tenant.call(external.createExternalService, { body })), /^forbidden/);
    await register(rig);
    const rule = await tenant.call(createNetworkRule, { body: { from: { name: "shop" }, to: { name: "legacy-db" } } });
    assert.equal([rule.to.kind, rule.to.name], ["service", "legacy-db"]);
    assert.equal(
      surplus(rig.store, Date.now()).filter(({ key }) => key.startsWith("network-")),
      [],
      "no clean-up takes the rule",
    );
    const back = { from: { kind: "service" as const, name: "legacy-db" }, to: { name: "shop" } };
    assert.match(await faultOf(tenant.call(createNetworkRule, { body: back })), /^invalid/);
    await rig.admin.call(external.deleteExternalService, { params: { name: "legacy-db" } });
    assert.equal((await tenant.call(listNetworkRules)).items, []);
  }));

test("a port that listens answers, one that does not is said to", async () => {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const never = new AbortController().signal;
  assert.is(await dialTcp({ address: "127.0.0.1", port }, never), undefined);
  await new Promise((resolve) => server.close(resolve));
  assert.match(String(await dialTcp({ address: "127.0.0.1", port }, never)), /refused: nothing listens/);
});

test.run();

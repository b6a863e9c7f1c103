// time limit: 120 s
// Hosts, routers, boot servers and the CLI beside an older and a newer control, and control beside older and newer ones of each.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp, listApps, updateApp } from "#api/apps.ts";
import { bootTarget, postBootEvents } from "#api/boot.ts";
import type { Client } from "#api/client.ts";
import { type Fault, isFault } from "#api/fault.ts";
import { hostTarget, reportHost } from "#api/host-agents.ts";
import { getHost } from "#api/hosts.ts";
import { listJobs } from "#api/jobs.ts";
import { createJoinToken, type JoinRole, joinCluster } from "#api/members.ts";
import { reportRouter, routerTarget } from "#api/router-agents.ts";
import { listRouters } from "#api/routes.ts";
import { createService } from "#api/services.ts";
import { getStatus } from "#api/status.ts";
import { type Hello, ownHello, type PartName } from "#api/version.ts";
import { until } from "#lib/time.ts";
import { newCsr, newKeyPem } from "#lib/x509.ts";
import { factsOf, type Rig, withRig } from "./rig.ts";

const speaks = (part: PartName, version: string, oldestProtocol: number, protocol: number): Hello => ({
  ...ownHello(part),
  version,
  oldestProtocol,
  protocol,
});
const refusal = (work: Promise<unknown>): Promise<Fault> =>
  work.then(
    () => {
      throw new Error("nothing was refused");
    },
    (error: Fault) => error,
  );

/** How each part speaks to control first, as a member or with the admin's token. */
const PARTS: { part: PartName; role?: JoinRole; ask: (client: Client, id: string) => Promise<unknown> }[] = [
  { part: "hostd", role: "host", ask: (client, id) => client.call(hostTarget, { params: { id } }) },
  { part: "router", role: "router", ask: (client, id) => client.call(routerTarget, { params: { id } }) },
  { part: "boot-server", role: "boot", ask: (client, id) => client.call(bootTarget, { params: { id } }) },
  { part: "cli", ask: (client) => client.call(listApps) },
];

async function speaker(rig: Rig, { role }: (typeof PARTS)[number], hello: Hello | undefined) {
  const greeting = hello ? { hello } : {};
  if (role === undefined) return { id: "", client: rig.client({ token: rig.token, ...greeting }) };
  const { id, key, certificate } = await rig.join(role);
  return { id, client: rig.client({ identity: { key, certificate }, ...greeting }) };
}

for (const each of PARTS) {
  const { part, ask } = each;
  test(`${part} and control understand each other when one is newer and still speaks the other's protocol, and when one says nothing`, () =>
    withRig(
      async (rig) => {
        for (const hello of [speaks(part, "0.0.9", 0, 1), speaks(part, "9.0.0", 1, 9), ownHello(part), undefined]) {
          const { client, id } = await speaker(rig, each, hello);
          await ask(client, id);
          assert.equal(client.peer(), ownHello("control"));
        }
      },
      { loops: false },
    ));

  test(`${part} that is too old, or for which control is too old, is told in words what to do, by both`, () =>
    withRig(
      async (rig) => {
        const table: [Hello, RegExp][] = [
          [speaks(part, "0.0.9", 0, 0), /is too old: 0\.0\.9 speaks protocol 0, and control, 0\.1\.0, needs 1; /],
          [
            speaks(part, "9.0.0", 9, 9),
            /^control is too old: 0\.1\.0 speaks protocol 1, .*9\.0\.0, needs 9; update the appliance first/,
          ],
        ];
        for (const [hello, words] of table) {
          const { client, id } = await speaker(rig, each, hello);
          const fault = await refusal(ask(client, id));
          assert.is(fault.code, "incompatible");
          assert.match(fault.message, words);
          assert.is(fault.retry, part !== "cli", "a program asks on, a command ends");
        }
        // Of an upgraded control even those that say nothing hear it, but for people's own clients.
        rig.hello = speaks("control", "9.0.0", 9, 9);
        await rig.restart();
        const { client, id } = await speaker(rig, each, undefined);
        if (part === "cli") await ask(client, id);
        else assert.match((await refusal(ask(client, id))).message, /speaks protocol 1, and control, 9\.0\.0, needs 9/);
      },
      { loops: false },
    ));
}

test("who cannot be understood does not join, and is told before its token is used", () =>
  withRig(
    async (rig) => {
      const { token } = await rig.admin.call(createJoinToken, { body: { role: "host" } });
      const key = newKeyPem();
      const body = { token, role: "host" as const, name: "h1", csr: await newCsr(key, "h1"), facts: factsOf("h1") };
      const old = await refusal(rig.client({ hello: speaks("hostd", "0.0.9", 0, 0) }).call(joinCluster, { body }));
      assert.match(old.message, /hostd\) is too old/);
      assert.ok(old.retry);
      const joined = await rig.client({ hello: ownHello("hostd") }).call(joinCluster, { body });
      assert.ok(joined.id);
    },
    { loops: false },
  ));

test("what each member said is shown: of a host, of a router, of the boot server in the status, and of control itself", () =>
  withRig(async (rig) => {
    const ids: Record<string, string> = {};
    for (const each of PARTS) {
      const { client, id } = await speaker(rig, each, speaks(each.part, "0.1.7", 1, 1));
      await each.ask(client, id);
      ids[each.part] = id;
      if (each.part !== "router") continue;
      const body = { term: 0, generation: 0, healthy: true, reason: "", reloads: 0, refused: [], draining: [] };
      await client.call(reportRouter, { params: { id }, body });
    }
    const host = await rig.admin.call(getHost, { params: { id: ids["hostd"]! } });
    assert.equal(host.hello, speaks("hostd", "0.1.7", 1, 1));
    const { items } = await rig.admin.call(listRouters);
    assert.is(items[0]!.hello?.version, "0.1.7");
    const status = await rig.admin.call(getStatus);
    assert.equal(status.hello, ownHello("control"));
    assert.match(
      status.parts.find(({ name }) => name === "router router")!.message,
      /serves generation 0, flynn 0\.1\.7/,
    );
    rig.hello = speaks("control", "9.0.0", 9, 9);
    await rig.restart();
    const { client, id } = await speaker(rig, PARTS[2]!, undefined);
    assert.ok(isFault(await refusal(client.call(bootTarget, { params: { id } })), "incompatible"));
    const boot = (await rig.admin.call(getStatus)).parts.find(({ name }) => name === "boot server")!;
    assert.is(boot.state, "down");
    assert.match(boot.message, /boot server is too old/);
  }));

test("a host that an upgraded control cannot understand any more is unhealthy in words, and keeps its jobs", () =>
  withRig(
    async (rig) => {
      const [old, other] = [await rig.host("old"), await rig.host("other")];
      old.start();
      other.start();
      const jobs = async () =>
        (await rig.admin.call(listJobs, { params: { app: "hello" } })).items.filter(({ state }) => state === "up");
      await rig.admin.call(createService, { body: { name: "hello", image: "x", count: 2 } });
      await until(async () => (await jobs()).length === 2, { what: "two jobs up", timeoutMs: 20_000 });
      const before = (await jobs()).map(({ id }) => id).sort();
      rig.hello = speaks("control", "9.0.0", 9, 9);
      await rig.restart();
      const host = () => rig.admin.call(getHost, { params: { id: old.id } });
      await until(async () => (await host()).state === "unhealthy", { what: "its state", timeoutMs: 20_000 });
      assert.match((await host()).reason, /hostd\) is too old.*boot the host with an image of 9\.0\.0/);
      // Longer than a silent host would be given.
      const silentMs = performance.now() + 3_000;
      await until(() => performance.now() > silentMs, { what: "three seconds", timeoutMs: 10_000 });
      assert.is((await host()).state, "unhealthy");
      const { items } = await rig.admin.call(listJobs, { params: { app: "hello" } });
      assert.equal(
        items.map(({ id, desired, state }) => `${id} ${desired} ${state}`).sort(),
        before.map((id) => `${id} run up`),
      );
      rig.hello = undefined;
      await rig.restart();
      await until(async () => (await host()).state === "ready", { what: "it is understood again", timeoutMs: 20_000 });
    },
    { hostLostAfterMs: 1_000 },
  ));

test("fields that control does not know are passed over in what members say, at every depth, and are not kept", () =>
  withRig(async (rig) => {
    const host = await rig.host("h1");
    const report = {
      ...{ term: 0, seq: 0, mood: "good", facts: { ...factsOf("h1"), gpus: 8 } },
      engine: { healthy: true, reason: "", runtime: "runc" },
      jobs: [{ id: "j-1", state: "up", reason: "", restarts: 0, colour: "blue" }],
    };
    await host.client.call(reportHost, { params: { id: host.id }, body: report as never });
    const shown = await rig.admin.call(getHost, { params: { id: host.id } });
    assert.is(shown.state, "ready");
    assert.not.ok(JSON.stringify([shown, ...rig.store.list("")]).includes("gpus"));
    const router = await rig.join("router");
    const said = {
      term: 0,
      generation: 0,
      healthy: true,
      reason: "",
      reloads: 0,
      refused: [],
      draining: [],
      quic: true,
    };
    await router.client.call(reportRouter, { params: { id: router.id }, body: said as never });
    const boot = await rig.join("boot");
    const events = { events: [], weather: "fine" };
    await boot.client.call(postBootEvents, { params: { id: boot.id }, body: events as never });
    const { token } = await rig.admin.call(createJoinToken, { body: { role: "router" } });
    const join = { token, role: "router", name: "r2", csr: await newCsr(newKeyPem(), "r2"), shape: "round" };
    assert.ok((await rig.client().call(joinCluster, { body: join as never })).id);
  }));

test("of people a field that is not known is refused, and who asks with a newer command hears why", () =>
  withRig(
    async (rig) => {
      const ask = (client: Client) =>
        refusal(client.call(updateApp, { params: { app: "hello" }, body: { canary: 5 } as never }));
      await rig.admin.call(createApp, { body: { name: "hello" } });
      const same = await ask(rig.client({ token: rig.token, hello: ownHello("cli") }));
      assert.match(same.message, /"canary" is not a field of this request$/);
      const newer = await ask(rig.client({ token: rig.token, hello: speaks("cli", "0.2.0", 1, 1) }));
      assert.is(newer.code, "invalid");
      assert.match(
        newer.message,
        /"canary" is not a field .*; this control is flynn 0\.1\.0, older than the 0\.2\.0 that asks; update the appliance/,
      );
    },
    { loops: false },
  ));

test.run();

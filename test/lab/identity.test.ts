// time limit: 300 s
// Who is this machine? On a LAN with the real boot server and the real control: its own card, a hostile neighbour, a clone of its
// body, clients behind a router and behind a relay, a job's address, and a flood of made-up cards. Clients are HTTP and packets.
import { copyFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Machine } from "#api/machines.ts";
import type { Event } from "#api/status.ts";
import { until } from "#lib/time.ts";
import { type ImageFixture, writeImage } from "../bootstrap/image-fixture.ts";
import { type Appliance, startAppliance } from "./appliance.ts";
import type { Answered, Asked } from "./boot-asker.ts";
import { type LanHost, openLan } from "./network.ts";
import { openScope, type Scope } from "./scope.ts";

interface Context {
  scope: Scope;
  appliance: Appliance;
  metal: LanHost;
  thief: LanHost;
  relay: LanHost;
}

const lab = suite<Context>("identity");
const ASKER = fileURLToPath(new URL("boot-asker.ts", import.meta.url));
const BASE = "http://10.77.0.1:7780";
const BODY = { uuid: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", serial: "CZ1234ABCD" };
const FAR = {
  relayed: "10.88.0.50",
  routed: "10.99.0.50",
  job: "100.64.1.5",
  relay: "10.88.0.1",
  stranger: "10.99.0.1",
};
const FAR_CARD = "52:54:08:00:00:01";

lab.before(async (context) => {
  const scope = await openScope();
  context.scope = scope;
  const lan = await openLan(scope);
  [context.metal, context.thief, context.relay] = [
    await lan.host("metal", "10.77.0.200"),
    await lan.host("thief", "10.77.0.201"),
    await lan.host("relay", "10.77.0.254"),
  ];
  for (const address of Object.values(FAR)) {
    await context.relay.exec(["ip", "addr", "add", `${address}/32`, "dev", "lo"]);
    await lan.exec(["ip", "route", "add", `${address}/32`, "via", context.relay.ip]);
  }
  const image = await writeImage(scope.folder);
  const stateDir = join(scope.folder, "state");
  await mkdir(stateDir, { recursive: true });
  await copyFile(image.keyFile, join(stateDir, "image-signing.pub"));
  const flags = [
    "--interface",
    lan.bridge,
    "--dhcp",
    "full",
    "--dhcp-range",
    "10.77.0.128-10.77.0.254",
    "--dhcp-relay",
    `${FAR.relay}/24`,
    "--images",
    image.imagesDir,
  ];
  context.appliance = await startAppliance(scope, { lan, stateDir, flags });
  await register(context.appliance, image);
  // Until it has heard from control it has every machine wait for that.
  const heard = async () => (await script(context.metal, context.metal.mac)).body.includes("waits for approval");
  await until(heard, { what: "a boot server that has heard from control", timeoutMs: 60_000 });
});
lab.after((context) => context.scope?.close());

async function register(appliance: Appliance, image: ImageFixture): Promise<void> {
  const directory = join(image.imagesDir, image.manifest.id);
  const [manifest, signature] = await Promise.all(
    ["manifest.json", "manifest.sig"].map((name) => readFile(join(directory, name), "utf8")),
  );
  const { status, body } = await appliance.api("POST", "/v1/boot-images", { manifest, signature });
  assert.is(status, 201, JSON.stringify(body));
}

async function ask(host: LanHost, asked: Asked): Promise<Answered> {
  const { stdout } = await host.exec([process.execPath, ASKER, JSON.stringify(asked)], { timeoutMs: 60_000 });
  return JSON.parse(stdout) as Answered;
}

const script = (host: LanHost, mac: string, said: object = BODY, from?: string): Promise<Answered> =>
  ask(host, {
    act: "get",
    url: `${BASE}/boot.ipxe?${new URLSearchParams({ mac, ...said })}`,
    ...(from ? { from } : {}),
  });
const seedOf = ({ body }: Answered): string => /s=(http:\S+\/s\/[A-Za-z0-9_-]{43}\/)/.exec(body)?.[1] ?? "";
const machineOf = async ({ appliance }: Context, id: string): Promise<Machine | undefined> => {
  const { status, body } = await appliance.api<Machine>("GET", `/v1/machines/${id}`);
  return status === 200 ? body : undefined;
};
const appears = (context: Context, mac: string, is: (machine: Machine) => boolean = () => true): Promise<Machine> =>
  until(
    async () => {
      const machine = await machineOf(context, mac);
      return machine && is(machine) ? machine : undefined;
    },
    { what: `machine ${mac} at control`, timeoutMs: 30_000 },
  );
const eventsOf = async ({ appliance }: Context, type: string): Promise<Event[]> =>
  (await appliance.api<{ items: Event[] }>("GET", `/v1/events?after=0&limit=1000&type=${type}`)).body.items.reverse();
/** What nobody but a person may change. */
const approvedPart = ({ id, name, macs, identity, state, approvedAt, bootId, hostId }: Machine) => ({
  id,
  name,
  macs,
  identity,
  state,
  approvedAt,
  bootId,
  hostId,
});
/** Asks until the boot server has heard what control decided; what it answered last goes into the failure. */
async function boots(host: LanHost, mac: string, said: object = BODY, from?: string): Promise<Answered> {
  let last: Answered | undefined;
  const asked = async () => {
    last = await script(host, mac, said, from);
    return seedOf(last) === "" ? undefined : last;
  };
  return until(asked, { what: `a boot script for ${mac}`, timeoutMs: 30_000 }).catch(async (cause: unknown) => {
    const { message, cause: why } = cause as Error;
    const kernel = (await host.exec(["ip", "neigh"])).stdout;
    throw new Error(`${message}; the last answer: ${last?.status} ${last?.body}; ${why}; neighbours:\n${kernel}`, {
      cause,
    });
  });
}

lab("a machine waits for a person, then boots, and its seed is fetched as often as it asks", async (context) => {
  const { metal, appliance } = context;
  assert.match((await script(metal, metal.mac)).body, "waits for approval");
  const { name } = await appears(context, metal.mac);
  await appliance.flynn(["machine", "approve", name]);
  const seed = seedOf(await boots(metal, metal.mac));
  for (let n = 0; n < 3; n++) {
    const { status, body } = await ask(metal, { act: "get", url: `${seed}user-data` });
    assert.is(status, 200);
    assert.match(body, "fjg_");
  }
});

lab("a hostile neighbour that claims its card gets a bare no, and the operator both cards", async (context) => {
  const { metal, thief } = context;
  const before = await appears(context, metal.mac);
  const seed = seedOf(await boots(metal, metal.mac));
  for (const said of [BODY, {}, { serial: "POISON-01" }])
    assert.equal(await script(thief, metal.mac, said), { status: 403, body: "no\n" });
  assert.equal(await ask(thief, { act: "get", url: `${seed}user-data` }), { status: 403, body: "no\n" });
  await until(async () => (await eventsOf(context, "machine.claim-refused")).length > 0, {
    what: "the event",
    timeoutMs: 30_000,
  });
  const [event] = await eventsOf(context, "machine.claim-refused");
  assert.match(event!.message, metal.mac);
  assert.match(event!.message, thief.mac);
  assert.equal(approvedPart(await appears(context, metal.mac)), approvedPart(before));
  assert.is((await ask(metal, { act: "get", url: `${seed}user-data` })).status, 200, "its own boot goes on");
});

lab("its card in another body waits for a person, and its own body boots on", async (context) => {
  const { metal, appliance } = context;
  const before = await appears(context, metal.mac);
  for (const said of [{ uuid: BODY.uuid }, {}, { ...BODY, serial: "OTHER-ONE" }]) {
    const answer = await script(metal, metal.mac, said);
    assert.match(answer.body, "waits for approval");
    for (const secret of [before.name, BODY.uuid, BODY.serial]) assert.not.match(answer.body, secret);
  }
  const changed = await appears(context, metal.mac, ({ pending }) => pending?.claimed?.serial === "OTHER-ONE");
  assert.equal(approvedPart(changed), approvedPart(before));
  assert.match(await appliance.flynn(["machine", "list"]), /changed/);
  await boots(metal, metal.mac);
  await appliance.flynn(["machine", "reject", before.name]);
  assert.is((await machineOf(context, metal.mac))?.pending, undefined);
});

lab("a clone of its body on another card is a machine of its own, until a person adopts the card", async (context) => {
  const { metal, thief, appliance } = context;
  const { name } = await appears(context, metal.mac);
  const answer = await script(thief, thief.mac);
  assert.match(answer.body, "waits for approval");
  assert.not.match(answer.body, name);
  const clone = await appears(context, thief.mac, ({ pending }) => pending?.kind === "new-card");
  assert.is(clone.reason, `says it is ${name} with a new card; run: flynn machine adopt ${clone.name} ${name}`);
  await appliance.flynn(["machine", "adopt", clone.name, name]);
  assert.equal((await appears(context, metal.mac)).macs, [metal.mac, thief.mac]);
  await boots(thief, thief.mac);
});

lab(
  "routed clients and jobs get nothing; behind a configured relay a card is believed once the relay carried its packets",
  async (context) => {
    const { metal, relay, appliance } = context;
    for (const from of [FAR.routed, FAR.job])
      for (const mac of [metal.mac, FAR_CARD]) assert.is((await script(relay, mac, BODY, from)).status, 0, from);
    const said = { serial: "FAR-0001" };
    const far = () => script(relay, FAR_CARD, said, FAR.relayed);
    const carry = (giaddr: string) =>
      ask(relay, { act: "relay", server: "10.77.0.1", giaddr, mac: FAR_CARD, asks: FAR.relayed });
    assert.is((await far()).status, 403);
    await carry(FAR.stranger);
    assert.is((await far()).status, 403, "a relay that nobody configured");
    await until(
      async () => {
        await carry(FAR.relay);
        return (await far()).body.includes("waits for approval");
      },
      { what: "the relayed card", timeoutMs: 20_000 },
    );
    const { name } = await appears(context, FAR_CARD);
    await appliance.flynn(["machine", "approve", name]);
    const seed = seedOf(await boots(relay, FAR_CARD, said, FAR.relayed));
    assert.is((await ask(relay, { act: "get", url: `${seed}user-data`, from: FAR.relayed })).status, 200);
    assert.is(
      (await ask(relay, { act: "get", url: `${seed}user-data` })).status,
      403,
      "the relay itself is not its machine",
    );
    assert.is((await script(relay, metal.mac, BODY, FAR.relayed)).status, 403, "nor another machine of it");
  },
);

lab("after ten thousand made-up cards a real new machine appears and is approved", async (context) => {
  const { appliance, thief, metal } = context;
  await ask(thief, { act: "flood", count: 10_000 });
  const late = await appliance.lan.host("late", "10.77.0.202");
  const said = { serial: "LATE-0001" };
  assert.match((await script(late, late.mac, said)).body, "waits for approval");
  const { name } = await appears(context, late.mac);
  await appliance.flynn(["machine", "approve", name]);
  await boots(late, late.mac, said);
  await boots(metal, metal.mac);
});

lab.run();

// The inventory room over real HTTP: what a machine that nobody approved is given, whose word is taken, and what it is told.
import { generateKeyPairSync, sign } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as readText } from "node:stream/consumers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BootMachine, BootTarget } from "#api/boot.ts";
import { checkOf } from "#api/check-words.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { createBootPlane } from "../../../bootstrap/http/boot-plane.ts";
import { createInventoryRoom } from "../../../bootstrap/http/inventory.ts";
import { bootHttpServer } from "../../../bootstrap/http/server.ts";
import { createMachines } from "../../../bootstrap/identity/machines.ts";
import { createOnce } from "../../../bootstrap/identity/once.ts";
import { createSight } from "../../../bootstrap/identity/sight.ts";
import { createTokens } from "../../../bootstrap/identity/tokens.ts";
import { openImages } from "../../../bootstrap/images.ts";
import { createInventories, type Inventory } from "../../../bootstrap/inventories.ts";
import type { RootSource } from "../../../bootstrap/root-sources.ts";
import type { Happening } from "../../../bootstrap/timeline.ts";
import { bootMachine, bootTarget, type ImageFixture, writeImage } from "../image-fixture.ts";

const MAC = "52:54:00:00:00:01";
const OTHER = "52:54:00:00:00:66";
const UUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
const KEY = Buffer.alloc(32, 7);

interface Rig {
  fixture: ImageFixture;
  events: Happening[];
  wire: { card: string | undefined };
  clock: { nowMs: number };
  sent: Inventory[];
  /** Where root images come from, and how often that was asked. */
  roots: { source: RootSource; taken: number };
  target(machines: BootMachine[], unknownMachines?: BootTarget["unknownMachines"]): void;
  get(path: string, body?: string): Promise<{ status: number; body: string }>;
  /** Path of the agent's address in the script that this card is given; undefined when it waits in its firmware. */
  inventoryPath(mac?: string): Promise<string | undefined>;
}

async function withRoom(work: (rig: Rig) => Promise<void>, key = KEY): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "flynn-inventory-"));
  const fixture = await writeImage(root);
  const images = openImages({ directory: fixture.imagesDir, publicKeyFile: fixture.keyFile, log: silentLog() });
  await images.scan();
  const machines = createMachines();
  const target: Rig["target"] = (known, unknownMachines = "inventory") =>
    machines.setTarget({ ...bootTarget(known, fixture.manifest), unknownMachines });
  target([]);
  const events: Happening[] = [];
  const wire: Rig["wire"] = { card: MAC };
  const clock = { nowMs: 0 };
  const roots: Rig["roots"] = { source: { from: "us" }, taken: 0 };
  const nowMs = () => clock.nowMs;
  const timeline = { record: (event: Happening) => void events.push(event) };
  const sight = createSight({
    network: { address: "127.0.0.0", prefix: 8 },
    relays: [],
    neighbours: () => wire.card,
  });
  const base = "http://127.0.0.1:7780";
  const inventories = createInventories({ log: silentLog(), nowMs });
  const inventory = createInventoryRoom({ base, key, machines, sight, timeline, inventories, nowMs });
  const plane = createBootPlane({
    ...{ base, machines, images, timeline, sight, inventory, nowMs },
    tokens: createTokens({ save: async () => undefined }),
    once: createOnce({ save: async () => undefined }),
    grant: () => "fjg_secret",
    rootFrom: async () => {
      roots.taken++;
      return roots.source;
    },
    ran: () => undefined,
  });
  const server = await bootHttpServer({
    ...{ address: "127.0.0.1", port: 0, plane, inventory, images, bootFiles: new Map(), log: silentLog() },
  });
  const sent: Inventory[] = [];
  const over = new AbortController();
  const delivering = inventories.deliver(async (one) => void sent.push(one), over.signal);
  const get: Rig["get"] = (path, body) =>
    new Promise((resolve, reject) => {
      const method = body === undefined ? "GET" : "POST";
      const options = { host: "127.0.0.1", port: server.address.port, path, method, agent: false };
      const asked = request(options, (reply) => {
        readText(reply).then((text) => resolve({ status: reply.statusCode!, body: text }), reject);
      });
      asked.on("error", reject);
      asked.end(body);
    });
  const inventoryPath: Rig["inventoryPath"] = async (mac = MAC) => {
    const { body } = await get(`/boot.ipxe?mac=${mac}&uuid=${UUID}&serial=CZ1234&arch=x86_64&platform=pcbios`);
    return /flynn\.inventory=http:\/\/127\.0\.0\.1:7780(\/i\/\S+)/.exec(body)?.[1];
  };
  try {
    await work({ fixture, events, wire, clock, sent, roots, target, get, inventoryPath });
  } finally {
    over.abort();
    await delivering;
    await server.close();
    await rm(root, { recursive: true });
  }
}

function signed(over: object = {}, pair = generateKeyPairSync("ed25519")) {
  const report = JSON.stringify({ mac: MAC, uuid: UUID, serial: "CZ1234", ...over });
  const key = pair.publicKey.export({ format: "der", type: "spki" }).toString("base64");
  const body = { report, key, signature: sign(null, Buffer.from(report), pair.privateKey).toString("base64") };
  return { key, text: JSON.stringify(body), body };
}

test("with `wait` an unknown machine waits in its firmware and is shown six words of its claim", () =>
  withRoom(async ({ target, get, inventoryPath }) => {
    target([], "wait");
    assert.is(await inventoryPath(), undefined);
    const { body } = await get(`/boot.ipxe?mac=${MAC}&uuid=${UUID}&serial=CZ1234`);
    assert.match(body, `echo Flynn: its six words: ${checkOf({ mac: MAC, uuid: UUID, serial: "CZ1234" }).words}`);
    assert.not.match(body, "vmlinuz");
  }));

test("with `inventory` it is given the current image and where to report, and no secret of any kind", () =>
  withRoom(async ({ get, fixture, events }) => {
    const { status, body } = await get(`/boot.ipxe?mac=${MAC}&uuid=${UUID}&serial=CZ1234`);
    assert.is(status, 200);
    assert.match(body, `/a/sha256-${fixture.manifest.kernel.sha256}/vmlinuz`);
    assert.match(
      body,
      / systemd\.unit=flynn-inventory\.target flynn\.inventory=http:\/\/127\.0\.0\.1:7780\/i\/[\w-]{40} /,
    );
    assert.not.match(body, /ds=nocloud|\/s\/|\/e\/|fjg_/);
    const [script] = events.filter(({ stage }) => stage === "script");
    assert.match(script!.message, /without any secret/);
    assert.is(script!.bootId, undefined, "a boot that may join nothing is no boot of a machine");
  }));

test("the nonce opens nothing but the room: neither seed nor beacon nor progress take it", () =>
  withRoom(async ({ get, inventoryPath }) => {
    const nonce = (await inventoryPath())!.slice(3);
    for (const path of [`/s/${nonce}/user-data`, `/s/${nonce}/meta-data`, `/e/${nonce}/ipxe`])
      assert.is((await get(path)).status, 403, path);
    assert.is((await get(`/p/${nonce}`, "{}")).status, 403);
  }));

test("only the card that the script went to may ask and report", () =>
  withRoom(async ({ get, inventoryPath, wire, sent }) => {
    const path = (await inventoryPath())!;
    wire.card = OTHER;
    assert.is((await get(path)).status, 403);
    assert.is((await get(path, signed().text)).status, 403);
    assert.is((await get(`${path}/refused`, "memory too small")).status, 403);
    wire.card = MAC;
    assert.is((await get(`/i/${"A".repeat(40)}`)).status, 403, "a nonce of nobody's making");
    assert.is((await get(path)).status, 200);
    assert.equal(sent, []);
  }));

test("what it reports reaches control as it was signed, with what was seen of it, and it is told which one is known", () =>
  withRoom(async ({ get, inventoryPath, sent }) => {
    const path = (await inventoryPath())!;
    assert.equal(JSON.parse((await get(path)).body), { state: "waiting" });
    const { text, key, body } = signed();
    const { claim } = checkOf({ mac: MAC, uuid: UUID, serial: "CZ1234" }, key);
    assert.equal(JSON.parse((await get(path, text)).body), { state: "waiting", claim });
    assert.equal(JSON.parse((await get(path)).body), { state: "waiting", claim });
    const [one] = sent;
    const { at: _, ...rest } = one!;
    assert.equal(rest, { ...body, mac: MAC, observed: { card: MAC, address: "127.0.0.1" } });
  }));

test("after a while, and after a restart of the boot server, it is asked for its report again; its nonce stays good", async () => {
  let path = "";
  await withRoom(async ({ get, inventoryPath, clock }) => {
    path = (await inventoryPath())!;
    await get(path, signed().text);
    clock.nowMs += 11 * 60_000;
    assert.equal(JSON.parse((await get(path)).body), { state: "waiting" });
  });
  await withRoom(async ({ get }) => assert.equal(JSON.parse((await get(path)).body), { state: "waiting" }));
  await withRoom(async ({ get }) => assert.is((await get(path)).status, 403), Buffer.alloc(32, 8));
});

test("approved or rejected, it hears so at its next question", () =>
  withRoom(async ({ get, inventoryPath, target }) => {
    const path = (await inventoryPath())!;
    target([bootMachine(MAC)]);
    assert.equal(JSON.parse((await get(path)).body), { state: "approved" });
    assert.equal(JSON.parse((await get(path, signed().text)).body), { state: "approved" });
    assert.is(await inventoryPath(), undefined, "and its next boot is a real one");
    target([bootMachine(MAC, { rejected: true })]);
    assert.equal(JSON.parse((await get(path)).body), { state: "rejected" });
  }));

test("an approved machine that a person ordered one of reports once, without a secret, and boots as before then", () =>
  withRoom(async ({ target, get, inventoryPath, events, sent }) => {
    target([bootMachine(MAC, { once: { id: "o1", target: "inventory" } })]);
    const asked = `/boot.ipxe?mac=${MAC}&uuid=${UUID}&serial=CZ1234`;
    const script = (await get(asked)).body;
    assert.match(script, / flynn\.ordered /);
    assert.not.match(script, /ds=nocloud|\/s\/|\/e\/|fjg_/);
    assert.match(script, "echo Flynn: this machine says what it is made of, as a person ordered");
    assert.ok(events.some(({ stage, detail }) => stage === "order" && detail?.["orderId"] === "o1"));
    const path = /flynn\.inventory=http:\/\/127\.0\.0\.1:7780(\/i\/\S+)/.exec(script)![1]!;
    assert.is((await get(path)).body, `{"state":"waiting"}\n`);
    assert.is((await get(path, signed().text)).body, `{"state":"approved"}\n`);
    await until(() => sent.length === 1, { what: "its report going out", timeoutMs: 5_000 });
    assert.is(sent[0]!.ordered, true);
    assert.is((await get(path, signed().text)).body, `{"state":"approved"}\n`);
    assert.is(sent.length, 1, "it is heard once");
    assert.is(await inventoryPath(), undefined, "the next boot is one of its own");
  }));

test("a report that is forged, of another card, too long or no report at all is refused in words and goes nowhere", () =>
  withRoom(async ({ get, inventoryPath, sent, clock }) => {
    const path = (await inventoryPath())!;
    const good = signed();
    const wrong: [string, string][] = [
      ["{", "not a signed inventory"],
      ["null", "not a signed inventory"],
      [JSON.stringify({ report: "{}" }), "not a signed inventory"],
      [JSON.stringify({ ...good.body, report: good.body.report.replace("CZ1234", "CZ1235") }), "not signed by the key"],
      [JSON.stringify({ ...good.body, key: signed().key }), "not signed by the key"],
      [JSON.stringify({ ...good.body, key: "AAAA" }), "not signed by the key"],
      [signed({ mac: OTHER }).text, "of another card"],
      [signed({ more: "x".repeat(50_000) }).text, "not a signed inventory"],
    ];
    for (const [body, why] of wrong) {
      clock.nowMs += 10_000;
      const answer = await get(path, body);
      assert.is(answer.status, 400, why);
      assert.match(answer.body, why);
    }
    assert.is((await get(path, "x".repeat(70_000))).status, 413);
    assert.equal(sent, []);
  }));

test("a machine that reports all the time is slowed down, and others are not", () =>
  withRoom(async ({ get, inventoryPath, wire, clock }) => {
    const path = (await inventoryPath())!;
    const { text } = signed();
    const statuses: number[] = [];
    for (let n = 0; n < 6; n++) statuses.push((await get(path, text)).status);
    assert.equal(statuses, [200, 200, 200, 200, 429, 429]);
    wire.card = OTHER;
    const other = (await inventoryPath(OTHER))!;
    assert.is((await get(other, signed({ mac: OTHER }).text)).status, 200);
    wire.card = MAC;
    clock.nowMs += 6_000;
    assert.is((await get(path, text)).status, 200);
  }));

test("a machine whose initrd refuses, or whose agent is never heard, waits in its firmware instead of booting for ever", () =>
  withRoom(async ({ get, inventoryPath, wire, clock, events }) => {
    const path = (await inventoryPath())!;
    await get(`${path}/refused`, "memory this image needs 1024 MiB of memory, the machine has 512 MiB");
    assert.is(await inventoryPath(), undefined);
    const told = events.map(({ stage, message }) => `${stage}: ${message}`);
    assert.ok(
      told.some((line) => /^boot-failed: .*needs 1024 MiB/.test(line)),
      told.join("\n"),
    );
    assert.ok(
      told.some((line) => /^wait-approval: .*without an inventory: .*needs 1024 MiB/.test(line)),
      told.join("\n"),
    );

    wire.card = OTHER;
    const given: boolean[] = [];
    for (let n = 0; n < 5; n++) given.push((await inventoryPath(OTHER)) !== undefined);
    assert.equal(given, [true, true, true, false, false]);
    clock.nowMs += 3_700_000;
    assert.ok(await inventoryPath(OTHER), "an hour later it is tried again");
  }));

test("a machine that is left waiting in its firmware takes no place from those that load an image", () =>
  withRoom(async ({ inventoryPath, roots }) => {
    for (let n = 0; n < 3; n++) assert.ok(await inventoryPath());
    assert.is(await inventoryPath(), undefined);
    assert.is(roots.taken, 3);
  }));

test("waiting for its turn to load an image is no boot that ended without a word", () =>
  withRoom(async ({ inventoryPath, roots }) => {
    roots.source = { from: "nowhere", loading: 8 };
    for (let n = 0; n < 9; n++) assert.is(await inventoryPath(), undefined);
    roots.source = { from: "us" };
    assert.ok(await inventoryPath(), "its turn came");
  }));

test("an agent that is heard may boot as often as it likes", () =>
  withRoom(async ({ get, inventoryPath }) => {
    for (let n = 0; n < 6; n++) {
      const path = await inventoryPath();
      assert.ok(path, `boot ${n}`);
      await get(path!);
    }
  }));

test("a machine that was approved with another serial, or whose card is not what is seen, is given no inventory boot", () =>
  withRoom(async ({ target, get, wire, inventoryPath }) => {
    target([bootMachine(MAC, { serial: "OTHER9" })]);
    assert.is(await inventoryPath(), undefined);
    target([]);
    wire.card = OTHER;
    assert.equal(await get(`/boot.ipxe?mac=${MAC}`), { status: 403, body: "no\n" });
  }));

test.run();

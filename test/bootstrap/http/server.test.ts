import { mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { type IncomingHttpHeaders, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as readText } from "node:stream/consumers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import type { BootMachine } from "#api/boot.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { createBootPlane } from "../../../bootstrap/http/boot-plane.ts";
import { createInventoryRoom } from "../../../bootstrap/http/inventory.ts";
import { bootHttpServer } from "../../../bootstrap/http/server.ts";
import { createMachines } from "../../../bootstrap/identity/machines.ts";
import { createSight } from "../../../bootstrap/identity/sight.ts";
import { createTokens } from "../../../bootstrap/identity/tokens.ts";
import type { Transfer } from "../../../bootstrap/images.ts";
import { openImages } from "../../../bootstrap/images.ts";
import { createInventories } from "../../../bootstrap/inventories.ts";
import type { RootSource } from "../../../bootstrap/root-sources.ts";
import type { Happening } from "../../../bootstrap/timeline.ts";
import { bootMachine, bootTarget, type ImageFixture, writeImage } from "../image-fixture.ts";

const MAC = "52:54:00:00:00:01";
const UUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

interface Rig {
  fixture: ImageFixture;
  events: Happening[];
  transfers: Transfer[];
  port: number;
  /** The network card the requests seem to come from. */
  wire: { card: string | undefined };
  clock: { nowMs: number };
  /** Where root images are to come from, and the cards whose places were given back. */
  root: { source: RootSource; done: string[] };
  get(path: string, options?: { method?: string; headers?: Record<string, string>; body?: string }): Promise<Reply>;
  scanImages(): Promise<void>;
}

async function withServer(
  machines: BootMachine[],
  work: (rig: Rig) => Promise<void>,
  requestsPerSecond = 1_000,
): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "flynn-http-"));
  const fixture = await writeImage(root);
  const images = openImages({ directory: fixture.imagesDir, publicKeyFile: fixture.keyFile, log: silentLog() });
  await images.scan();
  const known = createMachines();
  known.setTarget(bootTarget(machines, fixture.manifest));
  const events: Happening[] = [];
  const transfers: Transfer[] = [];
  const wire: Rig["wire"] = { card: MAC };
  const clock = { nowMs: 0 };
  const base = "http://127.0.0.1:7780";
  const timeline = { record: (event: Happening) => void events.push(event) };
  const sight = createSight({
    network: { address: "127.0.0.0", prefix: 8 },
    relays: [],
    neighbours: () => wire.card,
  });
  const inventories = createInventories({ log: silentLog(), nowMs: () => clock.nowMs });
  const inventory = createInventoryRoom({
    ...{ base, key: Buffer.alloc(32, 7), machines: known, sight, timeline, inventories },
    nowMs: () => clock.nowMs,
  });
  const loads: Rig["root"] = { source: { from: "us" }, done: [] };
  const plane = createBootPlane({
    base,
    machines: known,
    images,
    tokens: createTokens({ save: async () => undefined }),
    timeline,
    sight,
    inventory,
    grant: (boot) => `fjg_${boot.bootId}`,
    rootFrom: async () => loads.source,
    rootDone: (mac) => void loads.done.push(mac),
    ran: () => undefined,
    nowMs: () => clock.nowMs,
  });
  const bootFiles = new Map([
    ["snponly.efi", Buffer.from("MZ firmware")],
    ["grub/grub.cfg", Buffer.from("set said=")],
  ]);
  const onTransfer = (transfer: Transfer) => void transfers.push(transfer);
  const server = await bootHttpServer({
    address: "127.0.0.1",
    port: 0,
    plane,
    inventory,
    images,
    bootFiles,
    onTransfer,
    log: silentLog(),
    requestsPerSecond,
  });
  const { port } = server.address;
  try {
    await work({
      fixture,
      events,
      transfers,
      port,
      wire,
      clock,
      root: loads,
      scanImages: images.scan,
      get: (path, options) => get(port, path, options),
    });
  } finally {
    await server.close();
    await rm(root, { recursive: true });
  }
}

function get(
  port: number,
  path: string,
  { method = "GET", headers = {}, body }: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path, method, headers, agent: false }, (reply) => {
      reply.setEncoding("latin1");
      readText(reply).then(
        (text) => resolve({ status: reply.statusCode!, headers: reply.headers, body: text }),
        reject,
      );
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

const scriptPath = (more = "") => `/boot.ipxe?mac=${MAC}&uuid=${UUID}&serial=A1&arch=x86_64&platform=pcbios${more}`;
const tokenIn = (script: string) => /\/s\/([A-Za-z0-9_-]{43})\//.exec(script)?.[1] ?? "";
const stages = (events: Happening[]) => events.map((event) => event.stage);

test("an artefact: GET, HEAD, ETag and every kind of range, always with a length and never chunked", () =>
  withServer([], async ({ fixture, get }) => {
    const content = fixture.contents["root.squashfs"].toString("latin1");
    const { sha256, sizeBytes } = fixture.manifest.squashfs;
    const path = `/a/sha256-${sha256}/root.squashfs`;
    const whole = await get(path);
    assert.is(whole.status, 200);
    assert.is(whole.body, content);
    const head = await get(path, { method: "HEAD" });
    assert.is(head.headers["content-length"], String(sizeBytes));
    assert.is(head.headers.etag, `"sha256-${sha256}"`);
    assert.is(head.body, "");
    assert.is((await get(path, { headers: { "if-none-match": head.headers.etag! } })).status, 304);
    const ranges: [string, number, string, string?][] = [
      ["bytes=0-0", 206, content.slice(0, 1), `bytes 0-0/${sizeBytes}`],
      ["bytes=1048570-1048585", 206, content.slice(1048570, 1048586), `bytes 1048570-1048585/${sizeBytes}`],
      ["bytes=2999990-", 206, content.slice(2999990), `bytes 2999990-2999999/${sizeBytes}`],
      ["bytes=-5", 206, content.slice(-5), `bytes 2999995-2999999/${sizeBytes}`],
      ["bytes=2999999-9999999", 206, content.slice(-1), `bytes 2999999-2999999/${sizeBytes}`],
      [`bytes=${sizeBytes}-`, 416, "", `bytes */${sizeBytes}`],
      ["bytes=-0", 416, "", `bytes */${sizeBytes}`],
      ["bytes=5-2", 200, content],
      ["bytes=0-1,3-4", 200, content],
      ["lines=0-1", 200, content],
    ];
    for (const [range, status, body, contentRange] of ranges) {
      const reply = await get(path, { headers: { range } });
      assert.is(reply.status, status, range);
      assert.ok(reply.body === body, range);
      assert.is(reply.headers["content-range"], contentRange, range);
      assert.is(reply.headers["content-length"], String(body.length), range);
      assert.is(reply.headers["transfer-encoding"], undefined, range);
    }
    const stale = await get(path, { headers: { range: "bytes=0-0", "if-range": '"other"' } });
    assert.is(stale.status, 200);
  }));

test("a file that changed since it was verified is not served", () =>
  withServer([], async ({ fixture, get }) => {
    const path = join(fixture.imagesDir, "img1", "vmlinuz");
    await writeFile(path, Buffer.alloc(70_000, "evil!!"));
    await utimes(path, new Date(), new Date(Date.now() + 9_000));
    assert.is((await get(`/a/sha256-${fixture.manifest.kernel.sha256}/vmlinuz`)).status, 503);
  }));

test("paths that are not there are 404, not files of the machine", () =>
  withServer([], async ({ get }) => {
    for (const path of [
      "/",
      "/a/sha256-00/vmlinuz",
      `/a/sha256-${"0".repeat(64)}/vmlinuz`,
      "/ipxe/../../../etc/passwd",
      "/ipxe/%2e%2e",
      "/a/../etc/passwd",
      "/__proto__",
      "/e/x/toString",
      "//boot.ipxe",
    ]) {
      const { status, headers } = await get(path);
      assert.ok(status === 404 || status === 403, `${path}: ${status}`);
      assert.is(headers.location, undefined);
    }
    assert.is((await get("/boot.ipxe", { method: "DELETE" })).status, 405);
    assert.is((await get("/p/x", { method: "POST", body: "x".repeat(70_000) })).status, 413);
    assert.is((await get("/healthz")).body, "ok\n");
  }));

test("UEFI HTTP boot finds its binary, typed as application/efi", () =>
  withServer([], async ({ get }) => {
    const { headers, body } = await get("/ipxe/snponly.efi");
    assert.is(headers["content-type"], "application/efi");
    assert.is(body, "MZ firmware");
    assert.is((await get("/ipxe/snponly.efi", { method: "HEAD" })).headers["content-length"], "11");
  }));

test("an unknown machine waits, and the timeline says so once, however often it asks", () =>
  withServer([], async ({ get, events }) => {
    for (let n = 0; n < 3; n++) assert.match((await get(scriptPath())).body, "waits for approval");
    assert.equal(stages(events), ["wait-approval"]);
    assert.equal(events[0]!.claimed, {
      mac: MAC,
      uuid: UUID,
      serial: "A1",
      architecture: "x86_64",
      firmware: "bios",
      whole: true,
    });
    assert.equal(events[0]!.observed, { card: MAC, address: "127.0.0.1" });
  }));

test("a machine that still waits says so again every 15 s, however often it asks", () =>
  withServer([], async ({ get, events, clock }) => {
    const askAt = async (atMs: number) => {
      clock.nowMs = atMs;
      await get(scriptPath());
      return events.length;
    };
    const asked: [atMs: number, told: number][] = [
      [1_000, 1],
      [6_000, 1],
      [15_999, 1],
      [16_000, 2],
      [30_999, 2],
      [31_000, 3],
    ];
    for (const [atMs, told] of asked) assert.is(await askAt(atMs), told, `told by ${atMs} ms`);
    assert.equal([...new Set(stages(events))], ["wait-approval"]);
  }));

test("hostile MAC, UUID and serial never reach a script", () =>
  withServer([bootMachine(MAC)], async ({ get, events, wire }) => {
    wire.card = "52:54:00:00:00:99";
    for (const bad of ["", "x", "52:54:00:00:00:01%0aecho%20owned", "ff:ff:ff:ff:ff:ff", "$" + "{net0/mac}"]) {
      assert.is((await get(`/boot.ipxe?mac=${encodeURI(bad)}`)).status, 400, bad);
    }
    const hostile = encodeURIComponent(`x" || shell\n#!ipxe\nshell \${net0/mac} \`id\` && reboot`);
    const { body } = await get(
      `/boot.ipxe?mac=52:54:00:00:00:99&uuid=${hostile}&serial=${hostile}&product=${hostile}&platform=${hostile}`,
    );
    assert.match(body, "waits for approval");
    for (const line of body.split("\n"))
      assert.match(line, /^(#!ipxe|echo |:retry|sleep 5|chain --autofree --replace http:\/\/127|)/);
    assert.not.match(body, "shell\n");
    assert.not.match(body, "||\nshell");
    assert.is(events[0]!.claimed.uuid, undefined);
  }));

test("a script for one card asked from another gets a bare no; the operator is told both cards, once a minute", () =>
  withServer([bootMachine(MAC)], async ({ get, events, wire, clock }) => {
    wire.card = "52:54:00:00:00:66";
    for (let n = 0; n < 3; n++) {
      const { status, body } = await get(scriptPath());
      assert.equal([status, body], [403, "no\n"]);
    }
    assert.equal(stages(events), ["refused"]);
    assert.equal(events[0]!.detail, {
      code: "not-its-card",
      claimed: MAC,
      observed: "52:54:00:00:00:66",
      address: "127.0.0.1",
    });
    assert.equal(events[0]!.claimed, { mac: MAC }, "what it said of its body goes nowhere");
    clock.nowMs = 59_999;
    await get(scriptPath());
    assert.is(events.length, 1);
    clock.nowMs = 60_000;
    await get(scriptPath());
    assert.equal(stages(events), ["refused", "refused"]);
  }));

test("who is not seen on the wire gets nothing at all, not even a file", () =>
  withServer([bootMachine(MAC)], async ({ get, events, wire, fixture }) => {
    const token = tokenIn((await get(scriptPath())).body);
    const before = events.length;
    wire.card = undefined;
    for (const path of [
      scriptPath(),
      `/s/${token}/user-data`,
      `/e/${token}/ipxe`,
      "/ipxe/snponly.efi",
      `/a/sha256-${fixture.manifest.kernel.sha256}/vmlinuz`,
    ])
      assert.equal([(await get(path)).status, (await get(path)).body], [403, "no\n"], path);
    assert.is(events.length, before);
  }));

test("a known card in another body waits in the words of an unknown one; a UUID in the other byte order is the same", () =>
  withServer([bootMachine(MAC, { uuid: UUID, hostname: "node-secret" })], async ({ get, events }) => {
    const swapped = "3c2d1e0f-5a4b-7869-8796-a5b4c3d2e1f0";
    assert.match((await get(`/boot.ipxe?mac=${MAC}&uuid=${swapped}`)).body, "kernel");
    for (const query of ["&uuid=aaaaaaaa-4b5a-6978-8796-a5b4c3d2e1f0", ""]) {
      const { body } = await get(`/boot.ipxe?mac=${MAC}${query}`);
      assert.match(body, "waits for approval");
      assert.not.match(body, UUID);
      assert.not.match(body, "node-secret");
      assert.is(tokenIn(body), "");
    }
    assert.match((await get(`/boot.ipxe?mac=${MAC}&uuid=${UUID}`)).body, "kernel", "nothing was learnt from them");
    assert.match(events.find(({ stage }) => stage === "wait-approval")!.message, "its UUID is aaaaaaaa");
  }));

test("a rejected machine is sent on to its own boot order", () =>
  withServer([bootMachine(MAC, { rejected: true })], async ({ get }) => {
    const { body } = await get(scriptPath());
    assert.match(body, "exit 0");
    assert.not.match(body, "node-");
  }));

test("the initrd of a signed image is told by lines what a script would have said, and its boot is one like any other", () =>
  withServer([bootMachine(MAC)], async ({ get, events, fixture }) => {
    const asked = `/boot.env?mac=${MAC}&uuid=${UUID}&serial=A1&arch=x86_64&platform=efi`;
    const { status, body } = await get(asked);
    assert.is(status, 200);
    const { sha256 } = fixture.manifest.squashfs;
    const root = `DO=boot\nFETCH=http://127.0.0.1:7780/a/sha256-${sha256}/root.squashfs\nSEED=http://127.0.0.1:7780/s/`;
    assert.ok(body.startsWith(root), body);
    const token = /\/s\/([\w-]+)\/\n$/.exec(body)![1]!;
    assert.is((await get(`/s/${token}/user-data`)).status, 200);
    assert.equal(
      events.map(({ stage }) => stage),
      ["script", "seed"],
    );
  }));

test("an initrd whose machine nobody approved waits, and is told for what", () =>
  withServer([], async ({ get }) => {
    const { body } = await get(`/boot.env?mac=${MAC}&arch=x86_64&platform=efi`);
    assert.match(body, /^DO=wait\nWHY=Flynn: machine \S+ waits for approval/);
  }));

test("a RISC-V machine is told why on its console and sent on to its own boot order; the timeline says so once", () =>
  withServer([bootMachine(MAC)], async ({ get, events }) => {
    const path = `/boot.ipxe?mac=${MAC}&arch=riscv64&platform=efi`;
    const first = await get(path);
    assert.is(first.body, (await get(path)).body);
    assert.match(
      first.body,
      /^#!ipxe\necho Flynn: this machine.s firmware is riscv64 UEFI\necho Flynn: this appliance boots x86-64, and arm64 with UEFI\n/,
    );
    assert.match(first.body, /exit 0\n$/);
    assert.not.match(first.body, /kernel|chain/);
    assert.equal(
      events.map(({ stage, level, claimed }) => [stage, level, claimed.architecture]),
      [["note", "warning", "riscv64"]],
    );
    assert.match(
      events[0]!.message,
      /^firmware is riscv64 UEFI; this appliance boots x86-64, and arm64 with UEFI: use an x86-64 machine/,
    );
  }));

test("an approved machine: script, beacon, kernel, seed, progress; each on the timeline with its boot", () =>
  withServer([bootMachine(MAC)], async ({ get, events, fixture, transfers }) => {
    const script = (await get(scriptPath())).body;
    const token = tokenIn(script);
    assert.is((await get(`/e/${token}/ipxe`)).status, 200);
    for (const url of script.match(/\/a\/sha256-\S+/g)!) assert.is((await get(url)).status, 200, url);
    assert.is((await get(`/s/${token}/network-config`)).status, 404);
    const meta = parse((await get(`/s/${token}/meta-data`)).body);
    assert.is(meta["local-hostname"], "node-01");
    const user = parse((await get(`/s/${token}/user-data`)).body);
    const seed = JSON.parse(user.write_files[0].content);
    assert.is(seed.joinToken, `fjg_${seed.bootId}`);
    assert.equal(seed.tags, { zone: "a" });
    assert.match((await get(`/s/${token}/vendor-data`)).body, `/p/${token}`);
    const report = JSON.stringify({ name: "modules-final", event_type: "finish", result: "SUCCESS" });
    assert.is((await get(`/p/${token}`, { method: "POST", body: report })).status, 200);
    assert.equal(stages(events), ["script", "script", "seed", "cloud-init"]);
    assert.ok(events.every((event) => event.bootId === seed.bootId));
    await until(() => transfers.length === 3, { what: "three transfers", timeoutMs: 30_000 });
    assert.equal(transfers.map((one) => one.artefact.part).sort(), ["initrd", "kernel", "squashfs"]);
    assert.ok(transfers.every((one) => one.sentBytes === one.askedBytes && one.whole));
    assert.is(
      transfers.find((one) => one.artefact.part === "squashfs")!.sentBytes,
      fixture.manifest.squashfs.sizeBytes,
    );
  }));

test("a machine that finds no place to load from waits its turn, in words, without a token; then it is sent to a host beside it", () =>
  withServer([bootMachine(MAC)], async ({ get, events, root, fixture }) => {
    root.source = { from: "nowhere", loading: 60 };
    const waiting = (await get(scriptPath())).body;
    assert.match(waiting, /60 machines load their images, it waits for its turn/);
    assert.is(tokenIn(waiting), "");
    await get(scriptPath());
    assert.equal(stages(events), ["note"], "once, however often it asks");
    root.source = { from: "peer", address: "127.0.0.9" };
    const script = (await get(scriptPath())).body;
    assert.match(script, new RegExp(`fetch=http://127.0.0.9:7781/a/sha256-${fixture.manifest.squashfs.sha256}/`));
    assert.match(script, /flynn\.root=http:\/\/127\.0\.0\.1:7780\/a\//);
    assert.is(events.at(-1)!.detail?.["rootFrom"], "127.0.0.9");
    await get(`/e/${tokenIn(script)}/ipxe`);
    assert.equal(root.done, [], "it has its place while it loads");
    await get(`/e/${tokenIn(script)}/peer`);
    assert.equal(root.done, [MAC], "its place is another's");
    assert.equal(stages(events).slice(-2), ["script", "squashfs"]);
    await get(`/e/${tokenIn(script)}/fail`);
    assert.equal(root.done, [MAC, MAC], "likewise when it could not");
  }));

test("why an initrd ended its boot is on the timeline with that boot; what is not of its form is nobody's word", () =>
  withServer([bootMachine(MAC)], async ({ get, events }) => {
    const token = tokenIn((await get(scriptPath())).body);
    const say = (body: string, of = token) => get(`/e/${of}/refused`, { method: "POST", body });
    const why = "this image needs 900 MiB of memory, the machine has 489 MiB";
    assert.is((await say(`memory ${why}`)).status, 200);
    const { stage, level, message, bootId, detail } = events.at(-1)!;
    assert.equal(
      [stage, level, message, detail],
      ["boot-failed", "error", `its initrd refused to boot: ${why}`, { refusal: "memory", code: "initrd-memory" }],
    );
    assert.is(bootId, events[0]!.bootId);
    for (const bad of ["", "memory", "memory ", "Memory full", "a-b c", "x".repeat(500)])
      assert.is((await say(bad)).status, 400, bad);
    assert.is((await say("memory no", "A".repeat(43))).status, 403);
    assert.is((await say(`x ${"y".repeat(70_000)}`)).status, 413);
    assert.is((await get(`/e/${token}/refused`)).status, 404, "a beacon is another thing");
    await say("fetch a\u001b[2Jb\nc");
    assert.match(events.at(-1)!.message, /refused to boot: a\?\[2Jb\?c$/);
  }));

test("why an agent is no member yet is on the timeline with its boot, and with the boot's token only", () =>
  withServer([bootMachine(MAC)], async ({ get, events }) => {
    const token = tokenIn((await get(scriptPath())).body);
    const say = (body: string, of = token) => get(`/e/${of}/trouble`, { method: "POST", body });
    assert.is((await say("clock certificate is not yet valid")).status, 200);
    await say("clock certificate is not yet valid");
    const { stage, level, message, detail } = events.at(-1)!;
    assert.equal(
      [stage, level, message, detail],
      ["note", "warning", "its agent cannot join: certificate is not yet valid", { code: "agent-clock" }],
    );
    assert.is(events.filter((event) => event.detail?.["code"] === "agent-clock").length, 1, "once in a while");
    assert.is((await say("constructor x")).status, 400);
    assert.is((await say("clock x", "A".repeat(43))).status, 403);
  }));

test("a foreign token is refused with a bare no and an event, and a boot's own retries are served", () =>
  withServer([bootMachine(MAC)], async ({ get, events, wire }) => {
    const token = tokenIn((await get(scriptPath())).body);
    wire.card = "52:54:00:00:00:66";
    assert.equal(
      [(await get(`/s/${token}/user-data`)).status, (await get(`/s/${token}/user-data`)).body],
      [403, "no\n"],
    );
    wire.card = MAC;
    for (let n = 0; n < 10; n++) assert.is((await get(`/s/${token}/user-data`)).status, 200, `fetch ${n}`);
    assert.ok(stages(events).includes("token-refused"));
    assert.is(stages(events).filter((stage) => stage === "seed").length, 1);
    assert.is((await get(`/s/${"A".repeat(43)}/user-data`)).status, 403);
  }));

test("local disk, rescue and a missing image each have their script", async () => {
  await withServer([bootMachine(MAC, { target: "local-disk" })], async ({ get }) => {
    assert.match((await get(scriptPath())).body, "sanboot");
  });
  await withServer([bootMachine(MAC, { target: "rescue" })], async ({ get }) => {
    const { body } = await get(scriptPath());
    assert.match(body, "rescue.target");
    assert.is(tokenIn(body), "");
  });
  await withServer([bootMachine(MAC, { imageId: "gone" })], async ({ get, events }) => {
    assert.match((await get(scriptPath())).body, "boot image gone cannot be served");
    assert.equal(stages(events), ["note"]);
  });
});

test("an address that asks too much, or wrongly too often, is told to wait", async () => {
  await withServer(
    [],
    async ({ get }) => {
      const statuses = [];
      for (let n = 0; n < 30; n++) statuses.push((await get("/wrong")).status);
      assert.ok(statuses.includes(404) && statuses.includes(429));
      assert.is((await get("/healthz")).status, 200, "requests that are right go on");
    },
    20,
  );
});

test("a client that leaves in the middle is seen as a transfer that stopped", () =>
  withServer([bootMachine(MAC)], async ({ port, fixture, transfers, scanImages, get }) => {
    await writeImage(join(fixture.imagesDir, ".."), { id: "big", squashfs: Buffer.alloc(40_000_000, 1) });
    await scanImages();
    assert.is((await get("/healthz")).status, 200);
    const { createHash } = await import("node:crypto");
    const sha256 = createHash("sha256").update(Buffer.alloc(40_000_000, 1)).digest("hex");
    const socket = connect(port, "127.0.0.1");
    socket.write(`GET /a/sha256-${sha256}/root.squashfs HTTP/1.1\r\nHost: x\r\n\r\n`);
    socket.once("data", () => socket.destroy());
    await until(() => transfers.length === 1, { what: "the transfer ends", timeoutMs: 30_000 });
    assert.ok(transfers[0]!.sentBytes < transfers[0]!.askedBytes);
  }));

test("GRUB's script: asked for its length first, as firmware's own HTTP does, it is that very one, and one boot", () =>
  withServer([bootMachine(MAC)], async ({ get, events }) => {
    const path = `/boot.grub?mac=${MAC}&arch=x86_64&platform=efi&uuid=${UUID}&serial=A1`;
    const head = await get(path, { method: "HEAD" });
    assert.equal([head.status, head.body], [200, ""]);
    const script = await get(path);
    assert.is(String(script.body.length), head.headers["content-length"]);
    assert.match(script.body, /^cat '\(http,127\.0\.0\.1:7780\)\/e\//);
    const token = tokenIn(script.body);
    await get(`/e/${token}/grub`, { method: "HEAD" });
    await get(`/e/${token}/grub`);
    assert.equal(stages(events), ["script", "script"]);
    assert.match(events.at(-1)!.message, "GRUB runs the boot script");
    assert.is.not(tokenIn((await get(path)).body), token, "the next script is another boot's");
  }));

test("a script that was announced is not given once the machine's decision changed", () =>
  withServer([bootMachine(MAC)], async ({ get, wire }) => {
    const path = `/boot.grub?mac=${MAC}`;
    assert.is((await get(path, { method: "HEAD" })).status, 200);
    wire.card = "52:54:00:00:00:99";
    assert.is((await get(path)).status, 403);
  }));

test("GRUB's files are found with shim's second slash and at GRUB's own prefix, and lengths are in capitals, as GRUB reads them", () =>
  withServer([], async ({ get, port }) => {
    for (const path of ["/ipxe//snponly.efi", "/ipxe/snponly.efi"]) assert.is((await get(path)).body, "MZ firmware");
    assert.is((await get("/grub/grub.cfg")).body, "set said=");
    for (const path of ["/grub/../ipxe/snponly.efi", "/ipxe/", "/grub", "/grub/other"])
      assert.is((await get(path)).status, 404, path);
    for (const path of [`/boot.grub?mac=${MAC}`, "/ipxe/snponly.efi", "/nothing"])
      assert.match(await rawAnswer(port, path), /\r\nContent-Length: \d/, path);
  }));

/** The answer as it is on the wire. */
function rawAnswer(port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () =>
      socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`),
    );
    readText(socket).then(resolve, reject);
    socket.on("error", reject);
  });
}

test.run();

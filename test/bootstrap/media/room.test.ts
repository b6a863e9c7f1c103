// Who has a machine's ISO can pose as that machine, and only while its order lives: what the boot plane says to whoever shows a token of
// one, from a network that it does not see.
import { request } from "node:http";
import { text } from "node:stream/consumers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { filesOfIso } from "../../../bootstrap/media/iso.ts";
import { bootMachine } from "../image-fixture.ts";
import { type MediaPlane, mediaPlane } from "./plane.ts";

const MAC = "52:54:00:00:00:01";
const OTHER = "52:54:00:00:00:02";

/** From another address of loopback: another machine. */
async function get(
  { port }: MediaPlane,
  path: string,
  { from = "127.0.0.1", headers = {}, method = "GET" } = {},
): Promise<{ status: number; body: string; headers: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { host: "127.0.0.1", port, path, method, headers, localAddress: from, agent: false },
      (reply) => {
        reply.setEncoding("latin1");
        text(reply).then((body) => resolve({ status: reply.statusCode!, body, headers: reply.headers }), reject);
      },
    );
    sent.on("error", () => resolve({ status: 0, body: "", headers: {} })); // closed before it was read
    sent.end();
  });
}

const script = (token: string, mac = MAC) =>
  `/boot.ipxe?mac=${mac}&arch=i386&platform=pcbios${token === "" ? "" : `&media=${token}`}`;
const tokenOf = (url: string) => /\/m\/([^/]+)\//.exec(url)![1]!;

test("without an order nobody from elsewhere is heard; with one the ISO is served, in parts too, and to nobody without its token", async () => {
  await using plane = await mediaPlane({ machines: [bootMachine(MAC)] });
  assert.is((await get(plane, "/healthz")).status, 0);
  const medium = await plane.room.begin("mo-1", [MAC]);
  const path = new URL(medium.url).pathname;
  const whole = await get(plane, path);
  assert.is(whole.status, 200);
  assert.is(whole.headers["cache-control"], "no-store");
  const files = filesOfIso(Buffer.from(whole.body, "latin1"));
  assert.match(files.get("flynn.ipx")!.toString(), `&media=${tokenOf(medium.url)}`);
  const part = await get(plane, path, { headers: { range: "bytes=32769-32773" } });
  assert.equal([part.status, part.body], [206, "CD001"]);
  assert.is((await get(plane, `/m/${"A".repeat(43)}/boot.iso`)).status, 403);
  assert.is((await get(plane, script(""))).status, 403);
  const kernel = `/a/sha256-${plane.fixture.manifest.kernel.sha256}/vmlinuz`;
  assert.is((await get(plane, kernel)).status, 403, "nothing of the boot plane without a token");
  assert.is(medium.taken(), undefined);
  await medium.end();
  assert.is((await get(plane, path)).status, 0);
});

test("its machine boots with the token, is taken for its card from then on, and fetches its seed and files", async () => {
  await using plane = await mediaPlane({ machines: [bootMachine(MAC)] });
  const medium = await plane.room.begin("mo-1", [MAC]);
  const token = tokenOf(medium.url);
  const given = await get(plane, script(token));
  assert.is(given.status, 200);
  assert.match(given.body, "boot || goto fail");
  assert.equal({ ...medium.taken() } as object, { order: "mo-1", mac: MAC, address: "127.0.0.1", atMs: 1_000 });
  const seed = /\/s\/([A-Za-z0-9_-]{43})\//.exec(given.body)![1]!;
  assert.is((await get(plane, `/s/${seed}/user-data`)).status, 200);
  assert.is((await get(plane, `/a/sha256-${plane.fixture.manifest.kernel.sha256}/vmlinuz`)).status, 200);
  // The order is over: the machine goes on, at its own address alone.
  await medium.end();
  assert.is((await get(plane, `/s/${seed}/meta-data`)).status, 200);
  assert.is((await get(plane, `/s/${seed}/meta-data`, { from: "127.0.0.9" })).status, 0);
});

test("a second address, another card, and a token of an order that is over get a no, and an event says so", async () => {
  await using plane = await mediaPlane({ machines: [bootMachine(MAC), bootMachine(OTHER)] });
  const medium = await plane.room.begin("mo-1", [MAC]);
  const token = tokenOf(medium.url);
  assert.is((await get(plane, script(token, OTHER))).status, 403, "an ISO is of one machine");
  assert.is((await get(plane, script(token))).status, 200);
  assert.is((await get(plane, script(token))).status, 200, "firmware asks again");
  assert.is((await get(plane, script(token), { from: "127.0.0.9" })).status, 403, "whoever copied the ISO");
  const refused = plane.events.filter(({ stage }) => stage === "refused").map(({ message }) => message);
  assert.match(
    refused.join("\n"),
    `127.0.0.9 asked to boot as card ${MAC} from an ISO; refused: its ISO was used by card`,
  );
  await medium.end();
  await plane.room.begin("mo-2", [MAC]);
  assert.is((await get(plane, script(token), { from: "127.0.0.9" })).status, 403);
});

test("a token lives half an hour at most, and what it opened no longer", async () => {
  await using plane = await mediaPlane({ machines: [bootMachine(MAC)], lifeMs: 60_000 });
  const medium = await plane.room.begin("mo-1", [MAC]);
  assert.is((await get(plane, script(tokenOf(medium.url)))).status, 200);
  plane.clock.nowMs += 60_000;
  assert.is((await get(plane, new URL(medium.url).pathname)).status, 0);
  assert.is((await get(plane, script(tokenOf(medium.url)))).status, 0);
});

test("a boot server that starts anew gives the same order the same ISO, and knows who used it", async () => {
  await using plane = await mediaPlane({ machines: [bootMachine(MAC)] });
  const before = await plane.room.begin("mo-1", [MAC]);
  assert.is((await get(plane, script(tokenOf(before.url)))).status, 200);
  await plane.restart();
  // Who booted goes on at once; the ISO is served when control has said again that its order is open.
  assert.is((await get(plane, script(""))).status, 200);
  assert.is((await get(plane, new URL(before.url).pathname)).status, 403);
  const after = await plane.room.begin("mo-1", [MAC]);
  assert.is(after.url, before.url);
  assert.is(after.taken()?.address, "127.0.0.1");
  assert.is((await get(plane, script(tokenOf(after.url)), { from: "127.0.0.9" })).status, 403);
});

test("an address is taken for the machine that showed its ISO there last, after a restart too", async () => {
  await using plane = await mediaPlane({ machines: [] });
  const one = await plane.room.begin("mo-1", [MAC]);
  assert.ok((await plane.room.claims(tokenOf(one.url), MAC, "10.0.0.5")).ok);
  plane.clock.nowMs += 10 * 60_000; // its lease goes to the next machine
  const two = await plane.room.begin("mo-2", [OTHER]);
  assert.ok((await plane.room.claims(tokenOf(two.url), OTHER, "10.0.0.5")).ok);
  assert.is(plane.room.cardAt("10.0.0.5"), OTHER);
  // And back again.
  assert.ok((await plane.room.claims(tokenOf(one.url), MAC, "10.0.0.5")).ok);
  assert.is(plane.room.cardAt("10.0.0.5"), MAC);
  await plane.restart();
  assert.is(plane.room.cardAt("10.0.0.5"), MAC);
});

test("an order that switches its machine a second time waits for its second boot, from whatever address", async () => {
  await using plane = await mediaPlane({ machines: [] });
  const first = await plane.room.begin("mo-1", [MAC]);
  assert.ok((await plane.room.claims(tokenOf(first.url), MAC, "10.0.0.5")).ok);
  await first.end();
  plane.clock.nowMs += 20 * 60_000; // it hung; its BMC switches it off and on again
  const second = await plane.room.begin("mo-1", [MAC], 2);
  assert.is(second.taken(), undefined, "nobody asked for a script in this turn");
  assert.is.not(second.url, first.url);
  assert.is((await plane.room.claims(tokenOf(first.url), MAC, "10.0.0.5")).ok, false);
  assert.equal(await plane.room.claims(tokenOf(second.url), MAC, "10.0.0.6"), { ok: true });
  assert.is(second.taken()?.address, "10.0.0.6");
});

test.run();

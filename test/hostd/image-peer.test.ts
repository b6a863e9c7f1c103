// A host gives its root image on: to whoever asks for that content, a few at a time, and nothing else of it.
import { createHash } from "node:crypto";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { imagePeerPath } from "#api/image-peers.ts";
import { silentLog } from "#lib/log.ts";
import { rootPeers } from "../../bootstrap/root-peers.ts";
import { imagePeer } from "../../hostd/image-peer.ts";

const content = Buffer.alloc(2_000_000, "root ");
const sha256 = createHash("sha256").update(content).digest("hex");

interface Reply {
  status: number;
  body: Buffer;
}
const get = (port: number, path: string, options: { method?: string; range?: string } = {}): Promise<Reply> =>
  new Promise((resolve, reject) => {
    const { method = "GET", range } = options;
    const headers = range === undefined ? {} : { range };
    const sent = request({ host: "127.0.0.1", port, path, method, headers, agent: false }, (reply) => {
      const chunks: Buffer[] = [];
      reply.on("data", (chunk: Buffer) => chunks.push(chunk));
      reply.on("end", () => resolve({ status: reply.statusCode!, body: Buffer.concat(chunks) }));
      reply.on("error", reject);
    });
    sent.on("error", reject);
    sent.end();
  });

async function withPeer(
  cmdline: string,
  work: (port: number | undefined) => Promise<void>,
  sizeBytes = content.length,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-peer-"));
  const [image, words] = [join(directory, "root"), join(directory, "cmdline")];
  await writeFile(image, content);
  await truncate(image, sizeBytes);
  await writeFile(words, cmdline);
  const peer = await imagePeer({ address: "127.0.0.1", port: 0, image, cmdline: words, log: silentLog() });
  try {
    await work(peer?.port);
  } finally {
    await peer?.close();
    await rm(directory, { recursive: true });
  }
}
const BOOTED = `quiet fetch=http://10.77.0.1:7780${imagePeerPath(sha256)} BOOTIF=01-52-54\n`;

test("the image by its content, whole or from a byte on; nothing else", () =>
  withPeer(BOOTED, async (port) => {
    assert.ok((await get(port!, imagePeerPath(sha256))).body.equals(content));
    const rest = await get(port!, imagePeerPath(sha256), { range: "bytes=1999990-" });
    assert.equal([rest.status, rest.body.toString()], [206, content.subarray(1_999_990).toString()]);
    assert.is((await get(port!, imagePeerPath(sha256), { method: "HEAD" })).status, 200);
    assert.is((await get(port!, imagePeerPath("0".repeat(64)))).status, 404);
    assert.is((await get(port!, "/")).status, 404);
    assert.is((await get(port!, imagePeerPath(sha256), { method: "POST" })).status, 405);
  }));

test("more than it can give at a time are told to ask elsewhere", () =>
  withPeer(
    BOOTED,
    async (port) => {
      const slow = Array.from({ length: 12 }, () => {
        const sent = request({ host: "127.0.0.1", port, path: imagePeerPath(sha256), agent: false });
        const status = new Promise<number>((resolve, reject) => {
          sent.on("response", (reply) => resolve(reply.pause().statusCode!));
          sent.on("error", reject);
        });
        sent.end();
        return { sent, status };
      });
      const statuses = await Promise.all(slow.map(({ status }) => status));
      for (const { sent } of slow) sent.destroy();
      assert.equal(
        [statuses.filter((status) => status === 200).length, statuses.filter((status) => status === 503).length],
        [8, 4],
      );
      // Larger than what sockets hold: all of them are under way at once.
    },
    256 << 20,
  ));

test("a machine that did not boot from the network gives nothing", () =>
  withPeer("quiet root=/dev/sda1\n", async (port) => assert.is(port, undefined)));

test("the boot server names hosts that joined with that image, on its own wire, and that answer", async () => {
  const asked: string[] = [];
  const boot = (address: string, more: object = {}) => ({
    ...{ bootId: `b-${address}`, machineId: "m", imageId: "good", mac: "52:54:00:00:00:01", address },
    ...{ hardware: "52:54:00:00:00:01", tokenHash: "", mintedAtMs: 0, uses: {}, joined: true },
    ...more,
  });
  let nowMs = 0;
  const peers = rootPeers({
    boots: () => [
      boot("10.77.0.50"),
      boot("10.77.0.51", { joined: false }),
      boot("10.77.0.52", { imageId: "other" }),
      boot("10.77.0.53", { hardware: undefined, relay: "10.88.0.1" }),
      boot("10.77.0.54", { revoked: true }),
      boot("10.77.0.55"),
      boot("10.77.0.56"),
    ],
    squashfsOf: (imageId) => (imageId === "good" ? sha256 : "0".repeat(64)),
    probe: async (address) => {
      asked.push(address);
      return address !== "10.77.0.55";
    },
    nowMs: () => nowMs,
  });
  assert.equal(await peers.of(sha256, "10.77.0.60"), ["10.77.0.56", "10.77.0.50"]);
  assert.equal(await peers.of(sha256, "10.77.0.56"), ["10.77.0.50"], "never itself");
  assert.equal(asked, ["10.77.0.56", "10.77.0.55", "10.77.0.50"], "asked once in a while");
  nowMs = 61_000;
  await peers.of(sha256, "10.77.0.60");
  assert.is(asked.length, 6);
});

test.run();

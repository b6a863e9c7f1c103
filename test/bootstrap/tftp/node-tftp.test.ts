// Why the npm package `tftp` (node-tftp 0.1.2) is not what serves: kept as a proof. Its writer takes a repeated ACK for
// progress, so a client that re-sends its ACK after a lost DATA breaks the transfer. Same client, same losses, both servers.
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { stopChild } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { deadline } from "#lib/time.ts";
import { fixedFiles } from "../../../bootstrap/tftp/files.ts";
import { tftpServer } from "../../../bootstrap/tftp/server.ts";
import { download } from "./client.ts";
import { content } from "./content.ts";
import { lossyProxy } from "./lossy-proxy.ts";

const FILE = content(400 * 1024);
const WINDOWS = [1, 2, 4, 8, 16, 64];
const SEEDS = [1, 2];

/** One line per transfer that did not bring the file. */
async function failures(serverPort: number): Promise<string[]> {
  const runs = SEEDS.flatMap((seed) => WINDOWS.map((windowsize) => ({ seed, windowsize })));
  const failed: string[] = [];
  let dropped = 0;
  await Promise.all(
    runs.map(async ({ seed, windowsize }) => {
      const proxy = await lossyProxy({ serverPort, seed: seed * 100 + windowsize, loss: 0.01 });
      const chunks: Buffer[] = [];
      try {
        await download({
          address: "127.0.0.1",
          port: proxy.port,
          name: "file",
          blksize: 1024,
          windowsize,
          resendMs: 200,
          timeoutMs: 8_000,
          onBlock: (payload) => chunks.push(payload),
        });
        if (!Buffer.concat(chunks).equals(FILE)) failed.push(`window ${windowsize} seed ${seed}: other bytes`);
      } catch (error) {
        failed.push(`window ${windowsize} seed ${seed}: ${(error as Error).message}`);
      } finally {
        dropped += proxy.dropped();
        await proxy.close();
      }
    }),
  );
  assert.ok(dropped >= runs.length, `the proxies lost ${dropped} packets: too few to prove anything`);
  return failed;
}

test("with 1 % loss and a client that re-sends its ACK, ours brings every file", async () => {
  const server = await tftpServer({
    address: "127.0.0.1",
    port: 0,
    files: fixedFiles([["file", FILE]]),
    log: silentLog(),
    limits: { transfersPerClient: 100 },
  });
  try {
    assert.equal(await failures(server.address.port), []);
  } finally {
    await server.close();
  }
});

test("with the same losses and client, node-tftp 0.1.2 fails", async () => {
  const folder = await mkdtemp(join(tmpdir(), "node-tftp-"));
  await writeFile(join(folder, "file"), FILE);
  const child = fork(fileURLToPath(new URL("node-tftp-server.ts", import.meta.url)), [folder], {
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    execArgv: ["--no-deprecation"],
  });
  try {
    const [{ port }] = await deadline(once(child, "message"), 10_000, "node-tftp to listen");
    // It works when nothing is lost, so what fails below is its recovery.
    const whole = await download({ address: "127.0.0.1", port, name: "file", blksize: 1024, windowsize: 4 });
    assert.is(whole.bytes, FILE.length);
    const failed = await failures(port);
    assert.ok(failed.length >= 1, "node-tftp recovered every transfer: the reason to replace it is gone");
    console.log(`node-tftp failed ${failed.length} of ${WINDOWS.length * SEEDS.length}`);
  } finally {
    await stopChild(child);
    await rm(folder, { recursive: true, force: true });
  }
});

test.run();

// time limit: 180 s
// Real clients against the server on loopback: sizes around block edges, block sizes, windows, and a file whose block
// numbers wrap.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { fixedFiles } from "../../../bootstrap/tftp/files.ts";
import { type TransferEvent, tftpServer } from "../../../bootstrap/tftp/server.ts";
import { content } from "./content.ts";
import { fetchArgv, type RealClient } from "./real-clients.ts";

const SIZES = [0, 1, 511, 512, 513, 1024, 1467, 1468, 1469, 1468 * 3, 1468 * 44, 200 * 1024];
const BIG = "40m";
const files = new Map(SIZES.map((sizeBytes) => [String(sizeBytes), content(sizeBytes)]));
files.set(BIG, content(40 << 20));

const OPTIONS: [RealClient, { blksize?: number; windowsize?: number }][] = [
  ["tftp-hpa", {}],
  ["curl", {}],
  ["curl", { blksize: 512 }],
  ["curl", { blksize: 1468 }],
  ["curl", { blksize: 65464 }],
  ["atftp", {}],
  ["atftp", { blksize: 512, windowsize: 1 }],
  ["atftp", { blksize: 1468, windowsize: 4 }],
  ["atftp", { blksize: 1468, windowsize: 64 }],
  ["atftp", { windowsize: 16 }],
];

const folder = await mkdtemp(join(tmpdir(), "tftp-clients-"));
const events: TransferEvent[] = [];
const server = await tftpServer({
  address: "127.0.0.1",
  port: 0,
  files: fixedFiles(files),
  log: silentLog(),
  limits: { transfersPerClient: 64 },
  onTransfer: (event) => events.push(event),
});
test.after(async () => {
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

for (const [client, options] of OPTIONS) {
  const { blksize = "no", windowsize = "no" } = options;
  test(`${client} gets every file whole: ${blksize} blksize, ${windowsize} windowsize`, async () => {
    for (const sizeBytes of SIZES) {
      // curl takes tsize 0 in an OACK for an error, whoever the server is; without options it reads the empty file.
      if (client === "curl" && sizeBytes === 0 && options.blksize !== undefined) continue;
      const into = join(folder, `${client}-${sizeBytes}`);
      await exec(fetchArgv(client, { ...server.address, name: String(sizeBytes), into, ...options }), {
        timeoutMs: 30_000,
      });
      const got = sizeBytes === 0 ? await readFile(into).catch(() => Buffer.alloc(0)) : await readFile(into); // an empty file may not be made
      assert.ok(got.equals(files.get(String(sizeBytes))!), `${sizeBytes} bytes: got ${got.length}`);
      const agreed = events.findLast((event) => event.kind === "start")!;
      assert.is(agreed.blksize, Math.min(options.blksize ?? 512, 1468), `${sizeBytes} bytes`);
      assert.is(agreed.windowsize, options.windowsize ?? 1);
    }
  });
}

for (const [client, options] of [
  ["curl", { blksize: 512 }],
  ["tftp-hpa", {}],
  ["atftp", { blksize: 512, windowsize: 8 }],
] as typeof OPTIONS) {
  test(`${client} gets 40 MiB in blocks of 512, past block 65535`, async () => {
    const into = join(folder, `${client}-big`);
    await exec(fetchArgv(client, { ...server.address, name: BIG, into, ...options }), { timeoutMs: 60_000 });
    const hash = createHash("sha256");
    await pipeline(createReadStream(into), hash);
    assert.is(hash.digest("hex"), createHash("sha256").update(files.get(BIG)!).digest("hex"));
  });
}

test("an unknown file is refused in words that every client shows, and none waits for it", async () => {
  for (const client of ["curl", "atftp", "tftp-hpa"] as const) {
    const argv = fetchArgv(client, { ...server.address, name: "nothing", into: join(folder, "nothing") });
    const outcome = await exec(argv, { timeoutMs: 20_000 }).then(
      ({ stdout, stderr }) => stdout + stderr,
      (error: Error) => error.message,
    );
    assert.match(outcome, /not found|exited 68/i, client);
    assert.not.match(outcome, /time[d ]*out/i, client);
  }
});

test.run();

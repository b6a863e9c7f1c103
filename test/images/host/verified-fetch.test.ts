// Runs the initrd's own script, under dash and under busybox ash (what the initrd has), with busybox's wget against an
// HTTP server on loopback whose answers a case decides.
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { imageConf } from "../../../images/host/segment.ts";
import { ExecError, exec } from "../../../lib/exec.ts";

const script = join(import.meta.dirname, "../../../images/host/rootfs/usr/lib/live/boot/9991-flynn-verified-fetch.sh");
const image = Buffer.alloc(3_000_000, "root image ");

type Answer = (response: ServerResponse) => void;
const whole =
  (body: Buffer): Answer =>
  (response) =>
    response.writeHead(200, { "content-length": body.length }).end(body);
const cut: Answer = (response) => {
  response.writeHead(200, { "content-length": image.length });
  response.write(image.subarray(0, 1000), () => setImmediate(() => response.destroy()));
};
const still: Answer = (response) => {
  response.writeHead(200, { "content-length": image.length }).write(image.subarray(0, 1000));
};

interface Case {
  /** Answers to the first, second, ... request; the last one is repeated. */
  answers?: Answer[];
  /** Replaces the good URL. */
  fetch?: string;
  conf?: string;
  memTotalKib?: number;
}

interface Outcome {
  mounted: boolean;
  fetched: Buffer | undefined;
  said: string;
  requests: number;
}

async function boot(shell: string, options: Case): Promise<Outcome> {
  const { answers = [whole(image)], fetch, conf, memTotalKib = 4_000_000 } = options;
  const directory = await mkdtemp(join(tmpdir(), "flynn-initrd-"));
  let requests = 0;
  const server = createServer((_, response) => answers[Math.min(requests++, answers.length - 1)]!(response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const at = (name: string) => join(directory, name);
    const sha256 = createHash("sha256").update(image).digest("hex");
    const tie = { squashfsSha256: sha256, squashfsBytes: image.length, memoryNeedBytes: 1 << 30 };
    await writeFile(at("image.conf"), conf ?? imageConf(tie));
    await writeFile(at("meminfo"), `MemTotal:       ${memTotalKib} kB\n`);
    await mkdir(at("bin"));
    await symlink("/bin/busybox", at("bin/wget"));
    // The network and the mount are the initrd's; what is fetched, and whether it is believed, is the script's.
    const harness = `. "$SCRIPT"
panic () { echo "PANIC $*"; exit 9; }
flynn_network () { :; }
mount () { :; }
mountpoint="$DIRECTORY/medium" LIVE_MEDIA_PATH=live
do_netmount && echo MOUNT-ALLOWED`;
    const env = {
      PATH: `${at("bin")}:/usr/sbin:/usr/bin:/sbin:/bin`,
      SCRIPT: script,
      DIRECTORY: directory,
      FETCH: fetch ?? `http://127.0.0.1:${(server.address() as AddressInfo).port}/root.squashfs`,
      FLYNN_IMAGE_CONF: at("image.conf"),
      FLYNN_MEMINFO: at("meminfo"),
      FLYNN_PID_FILE: at("pid"),
      FLYNN_FETCH_TRIES: "3",
      FLYNN_RETRY_S: "0",
      FLYNN_WATCH_S: "1",
      FLYNN_STALL_S: "2",
    };
    const argv = shell === "busybox" ? ["busybox", "sh", "-c", harness] : [shell, "-c", harness];
    const said = await exec(argv, { env, timeoutMs: 30_000 }).then(
      ({ stdout, stderr }) => stdout + stderr,
      (error) => {
        if (error instanceof ExecError && error.exitCode === 9) return error.stdout + error.stderr;
        throw error;
      },
    );
    const fetched = await readFile(at("medium/live/filesystem.squashfs")).catch(() => undefined);
    return { mounted: said.includes("MOUNT-ALLOWED"), fetched, said, requests };
  } finally {
    server.closeAllConnections();
    server.close();
    await rm(directory, { recursive: true });
  }
}

const changed = Buffer.from(image);
changed[1_500_000]! ^= 1;

for (const shell of ["dash", "busybox"]) {
  const under = `under ${shell}`;

  test(`${under}: the image this initrd belongs to is mounted, byte for byte`, async () => {
    const { mounted, fetched, said } = await boot(shell, {});
    assert.ok(mounted, said);
    assert.ok(fetched?.equals(image));
    assert.match(said, /root image verified: sha256 [0-9a-f]{64}/);
  });

  test(`${under}: one changed byte is refused in plain words, once, and nothing of it stays`, async () => {
    const { mounted, fetched, said, requests } = await boot(shell, { answers: [whole(changed)] });
    assert.not.ok(mounted);
    assert.is(fetched, undefined);
    assert.match(said, /PANIC flynn: BOOT REFUSED: the root image is not the one this initrd belongs to/);
    assert.is(requests, 1);
  });

  test(`${under}: an image with bytes appended is refused`, async () => {
    const { mounted, said } = await boot(shell, { answers: [whole(Buffer.concat([image, Buffer.from("more")]))] });
    assert.not.ok(mounted);
    assert.match(said, /is not the one this initrd belongs to/);
  });

  test(`${under}: a transfer that breaks off is tried again and then verified`, async () => {
    const { mounted, said } = await boot(shell, { answers: [cut, whole(image)] });
    assert.ok(mounted, said);
    assert.match(said, /broke off at 1000 of 3000000 bytes/);
  });

  test(`${under}: a server that never sends the whole image ends in a refusal, not in a loop`, async () => {
    const { mounted, said } = await boot(shell, { answers: [cut] });
    assert.not.ok(mounted);
    assert.match(said, /try 3 of 3/);
    assert.match(said, /BOOT REFUSED: the root image could not be fetched from http:\/\/127\.0\.0\.1:/);
  });

  test(`${under}: a transfer that stands still is ended and tried again`, async () => {
    const { mounted, said } = await boot(shell, { answers: [still, whole(image)] });
    assert.ok(mounted, said);
    assert.match(said, /broke off at 1000/);
  });

  test(`${under}: a machine with too little memory is told how much it needs`, async () => {
    const { mounted, said } = await boot(shell, { memTotalKib: 700_000 });
    assert.not.ok(mounted);
    assert.match(said, /this image needs 1024 MiB of memory, the machine has 683 MiB/);
  });

  test(`${under}: an initrd without its tie mounts nothing`, async () => {
    const { mounted, said } = await boot(shell, { conf: "" });
    assert.not.ok(mounted);
    assert.match(said, /does not say which root image/);
  });

  test(`${under}: only an http URL that ends in .squashfs is fetched`, async () => {
    for (const fetch of ["tftp://127.0.0.1/root.squashfs", "http://127.0.0.1/root.iso", "file:///root.squashfs", ""]) {
      const { mounted, said, requests } = await boot(shell, { fetch });
      assert.not.ok(mounted, fetch);
      assert.is(requests, 0);
      assert.match(said, /must be an http URL/);
    }
  });
}

test("only hex and decimal digits get into the file that the initrd's shell reads", () => {
  const good = { squashfsSha256: "a".repeat(64), squashfsBytes: 1, memoryNeedBytes: 1 };
  assert.match(imageConf(good), /^SQUASHFS_SHA256=a{64}\n/);
  assert.throws(() => imageConf({ ...good, squashfsSha256: `$(reboot)${"a".repeat(55)}` }), /64 hex/);
  assert.throws(() => imageConf({ ...good, squashfsBytes: Number.NaN }), /not a size/);
});

test.run();

// Runs the initrd's own script, under dash and under busybox ash (what the initrd has), with busybox's wget against an
// HTTP server on loopback whose answers a case decides.
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { imageConf } from "../../../images/host/segment.ts";
import { ExecError, exec } from "../../../lib/exec.ts";

const script = join(import.meta.dirname, "../../../images/host/rootfs/usr/lib/live/boot/9991-flynn-verified-fetch.sh");
const image = Buffer.alloc(3_000_000, "root image ");

type Answer = (response: ServerResponse, request: IncomingMessage) => void;
const whole =
  (body: Buffer): Answer =>
  (response) =>
    response.writeHead(200, { "content-length": body.length }).end(body);
const cut: Answer = (response) => {
  response.writeHead(200, { "content-length": image.length });
  response.write(image.subarray(0, 1000), () => setImmediate(() => response.destroy()));
};
/** As the boot server: what is asked for by Range, and once more only so many bytes before the line breaks. */
const parts =
  (body: Buffer, most = body.length): Answer =>
  (response, { headers }) => {
    const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
    const rest = body.subarray(from);
    const range = { "content-range": `bytes ${from}-${body.length - 1}/${body.length}` };
    response.writeHead(from > 0 ? 206 : 200, { "content-length": rest.length, ...(from > 0 ? range : {}) });
    if (rest.length <= most) response.end(rest);
    else response.write(rest.subarray(0, most), () => setImmediate(() => response.destroy()));
  };
const still: Answer = (response) => {
  response.writeHead(200, { "content-length": image.length }).write(image.subarray(0, 1000));
};

const endless: Answer = (response) => {
  const chunk = Buffer.alloc(1 << 20);
  const more = (): void => {
    while (!response.destroyed) if (!response.write(chunk)) return void response.once("drain", more);
  };
  more();
};
/** A byte now and then, as long as it is listened to. */
const drip: Answer = (response) => {
  response.writeHead(200, { "content-length": image.length });
  const every = setInterval(() => response.write(image.subarray(0, 1)), 200);
  response.once("close", () => clearInterval(every));
};

interface Case {
  /** Answers to the first, second, ... request; the last one is repeated. */
  answers?: Answer[];
  /** Replaces the good URL. */
  fetch?: string;
  conf?: string;
  memTotalKib?: number;
  /** The kernel's consoles; the last one is stdout. */
  consoles?: string;
  cmdline?: (port: number) => string;
  /** Answers of a boot server that is asked what to boot, the last one repeated. */
  env?: ((port: number) => string)[];
  /** The root image that GRUB of an installed disk loaded. */
  loaded?: Buffer;
  /** What the machine's clock says. */
  clockS?: number;
  /** Seconds that a host beside it has for what it is to give in them. */
  peerS?: number;
  /** What the boot server's clock says; none without. */
  date?: string;
}

interface Outcome {
  mounted: boolean;
  fetched: Buffer | undefined;
  said: string;
  requests: number;
  /** What was asked for, the time aside. */
  paths: string[];
  /** Range of each request for the image. */
  ranges: (string | undefined)[];
  /** What the boot server was told. */
  told: string[];
  /** What other consoles than stdout show. */
  screen: string;
  /** Seconds that the clock was set to. */
  clockSet: string;
  /** What was asked of the boot server. */
  asked: string[];
  /** The command line that the root's programs see, once it was told. */
  cmdline: string;
  /** The seed that the root finds. */
  seed: string;
}

async function boot(shell: string, options: Case): Promise<Outcome> {
  const { answers = [whole(image)], fetch, conf, memTotalKib = 4_000_000, consoles = "ttyS0", clockS, date } = options;
  const directory = await mkdtemp(join(tmpdir(), "flynn-initrd-"));
  let requests = 0;
  const ranges: (string | undefined)[] = [];
  const paths: string[] = [];
  const told: string[] = [];
  const asked: string[] = [];
  const server = createServer((request, response) => {
    if (request.url === "/healthz") {
      response.sendDate = false;
      if (date !== undefined) response.setHeader("Date", date);
      response.end("ok\n");
    } else if (request.url?.startsWith("/boot.env?")) {
      const { port } = server.address() as AddressInfo;
      const { env = [] } = options;
      const answer = env[Math.min(asked.push(request.url) - 1, env.length - 1)];
      if (answer === undefined) response.writeHead(404).end();
      else response.end(answer(port));
    } else if (request.method === "POST") {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        told.push(`${request.url} ${Buffer.concat(chunks).toString()}`);
        response.end("ok\n");
      });
    } else if (request.url?.startsWith("/e/")) {
      paths.push(request.url);
      response.end("ok\n");
    } else {
      paths.push(request.url ?? "");
      ranges.push(request.headers.range);
      answers[Math.min(requests++, answers.length - 1)]!(response, request);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const at = (name: string) => join(directory, name);
    const sha256 = createHash("sha256").update(image).digest("hex");
    const tie = { squashfsSha256: sha256, squashfsBytes: image.length, memoryNeedBytes: 1 << 30 };
    await writeFile(at("image.conf"), conf ?? imageConf(tie));
    await writeFile(at("meminfo"), `MemTotal:       ${memTotalKib} kB\n`);
    await mkdir(at("bin"));
    await symlink("/bin/busybox", at("bin/wget"));
    await mkdir(at("dev"));
    if (options.loaded !== undefined) {
      await mkdir(at("slot/seed"), { recursive: true });
      await writeFile(at("slot/root.squashfs"), options.loaded);
      await writeFile(at("slot/seed/user-data"), "#cloud-config\n");
    }
    await mkdir(at("sys/class/net/eth0"), { recursive: true });
    await writeFile(at("sys/class/net/eth0/address"), "52:54:00:00:00:01\n");
    await mkdir(at("sys/class/dmi/id"), { recursive: true });
    await writeFile(at("sys/class/dmi/id/product_serial"), "SN 1&$(id)\n");
    await writeFile(at("sys/class/dmi/id/product_uuid"), "11111111-2222-3333-4444-555555555555\n");
    await writeFile(at("consoles"), `${consoles}\n`);
    const { port } = server.address() as AddressInfo;
    await writeFile(at("cmdline"), options.cmdline?.(port) ?? "quiet\n");
    // Nothing sets this machine's clock: the initrd's date is busybox's but for that, and the right to set it is taken away.
    const clock = clockS ?? "$(busybox date -u +%s)";
    const lies = `#!/bin/sh\ncase "$*" in\n"-u +%s") echo "${clock}" ;;\n*-s*) echo "$*" > "${at("clock")}" ;;\n*) exec busybox date "$@" ;;\nesac\n`;
    await writeFile(at("bin/date"), lies, { mode: 0o755 });
    // The network and the mount are the initrd's; what is fetched, and whether it is believed, is the script's.
    const harness = `. "$SCRIPT"
panic () { echo "PANIC $*"; exit 9; }
flynn_network () { flynn_is_up=yes; DEVICE=eth0; ROOTSERVER=127.0.0.1; }
flynn_installed_network () { echo NETWORK-TRIED; }
mount () { :; }
mountpoint="$DIRECTORY/medium" LIVE_MEDIA_PATH=live
do_netmount && echo MOUNT-ALLOWED`;
    const env = {
      PATH: `${at("bin")}:/usr/sbin:/usr/bin:/sbin:/bin`,
      SCRIPT: script,
      DIRECTORY: directory,
      FETCH: fetch ?? `http://127.0.0.1:${port}/root.squashfs`,
      FLYNN_DATE: at("bin/date"),
      FLYNN_CONSOLES: at("consoles"),
      FLYNN_DEV: at("dev"),
      FLYNN_CMDLINE: at("cmdline"),
      FLYNN_IMAGE_CONF: at("image.conf"),
      FLYNN_MEMINFO: at("meminfo"),
      FLYNN_PID_FILE: at("pid"),
      FLYNN_FETCH_TRIES: "3",
      FLYNN_ASK_TRIES: "2",
      FLYNN_SYS: at("sys"),
      FLYNN_TOLD_CMDLINE: at("told-cmdline"),
      FLYNN_LOADED: at("slot"),
      FLYNN_SEED: at("seed"),
      FLYNN_RETRY_S: "0",
      FLYNN_WATCH_S: "1",
      FLYNN_STALL_S: "2",
      ...(options.peerS === undefined ? {} : { FLYNN_PEER_S: `${options.peerS}` }),
    };
    const argv = [
      ...["setpriv", "--bounding-set", "-sys_time", "--"],
      ...(shell === "busybox" ? ["busybox", "sh"] : [shell]),
      ...["-c", harness],
    ];
    const said = await exec(argv, { env, timeoutMs: 30_000 }).then(
      ({ stdout, stderr }) => stdout + stderr,
      (error) => {
        if (error instanceof ExecError && error.exitCode === 9) return error.stdout + error.stderr;
        throw error;
      },
    );
    const fetched = await readFile(at("medium/live/filesystem.squashfs")).catch(() => undefined);
    const text = (name: string) => readFile(at(name), "utf8").catch(() => "");
    return {
      ...{ mounted: said.includes("MOUNT-ALLOWED"), fetched, said, requests, ranges, paths, told },
      screen: await text("dev/tty0"),
      clockSet: (await text("clock")).trim(),
      asked,
      cmdline: await text("told-cmdline"),
      seed: await text("seed/user-data"),
    };
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

  const ASKED = "http://boot-server/root.squashfs";
  const sum = createHash("sha256").update(image).digest("hex");
  const uki = (port: number) => `boot=live fetch=${ASKED} flynn.server=http://127.0.0.1:${port} quiet\n`;
  const goes = (port: number, hash = sum) =>
    `DO=boot\nFETCH=http://127.0.0.1:${port}/a/sha256-${hash}/root.squashfs\nSEED=http://127.0.0.1:${port}/s/tok_1/\n`;

  test(`${under}: a signed image asks the boot server what a script would have said, and tells cloud-init`, async () => {
    const env = [() => "DO=wait\nWHY=machine SN1 waits for approval\n", goes];
    const { mounted, said, asked, cmdline } = await boot(shell, { fetch: ASKED, cmdline: uki, env });
    assert.ok(mounted, said);
    assert.match(said, /the boot server: machine SN1 waits for approval/);
    assert.is(asked.length, 2);
    assert.match(
      asked[0]!,
      /^\/boot\.env\?mac=52:54:00:00:00:01&uuid=11111111-2222-3333-4444-555555555555&serial=SN-1\(id\)&/,
    );
    assert.match(asked[0]!, /&arch=\w+&platform=efi$/);
    assert.match(cmdline, /^boot=live .* quiet ds=nocloud-net;s=http:\/\/127\.0\.0\.1:\d+\/s\/tok_1\/\n$/);
  });

  test(`${under}: a signed image takes nothing from an answer but what it asks for, in its form`, async () => {
    for (const [answer, reason] of [
      [(port: number) => goes(port, "a".repeat(64)), /gives this machine another image/],
      [
        (port: number) => goes(port).replace("/root.squashfs", "/$(reboot).squashfs"),
        /gives this machine another image/,
      ],
      [
        () => "DO=stop\nWHY=it is told to boot its own disk\n",
        /REFUSED: the boot server: it is told to boot its own disk/,
      ],
      [() => "#!ipxe\nboot\n", /does not say what to boot/],
      [undefined, /does not say what to boot/],
    ] as const) {
      const env = answer === undefined ? [] : [answer];
      const { mounted, said, cmdline, requests } = await boot(shell, { fetch: ASKED, cmdline: uki, env });
      assert.not.ok(mounted, said);
      assert.match(said, reason);
      assert.equal([cmdline, requests], ["", 0]);
    }
  });

  test(`${under}: an image with bytes appended is refused`, async () => {
    const { mounted, said } = await boot(shell, { answers: [whole(Buffer.concat([image, Buffer.from("more")]))] });
    assert.not.ok(mounted);
    assert.match(said, /is not the one this initrd belongs to/);
  });

  test(`${under}: a transfer that breaks off goes on from the byte it has, as often as it breaks, and is then verified`, async () => {
    const answers = [parts(image, 1_000_000), parts(image, 500_000), parts(image)];
    const { mounted, said, fetched, ranges } = await boot(shell, { answers });
    assert.ok(mounted, said);
    assert.ok(fetched?.equals(image));
    assert.match(said, /broke off at 1000000 of 3000000 bytes; it goes on from there/);
    assert.equal(ranges, [undefined, "bytes=1000000-", "bytes=1500000-"]);
  });

  test(`${under}: a server that knows no Range sends the whole image again, and that is taken`, async () => {
    const { mounted, said, fetched, ranges } = await boot(shell, { answers: [cut, whole(image)] });
    assert.ok(mounted, said);
    assert.ok(fetched?.equals(image));
    assert.equal(ranges, [undefined, "bytes=1000-"]);
  });

  test(`${under}: parts of two images are fetched anew from the first byte before anything is refused`, async () => {
    const answers = [parts(changed, 2_000_000), parts(image), parts(image)];
    const { mounted, said, fetched, ranges } = await boot(shell, { answers });
    assert.ok(mounted, said);
    assert.ok(fetched?.equals(image));
    assert.match(said, /do not make the root image; it is fetched anew/);
    assert.equal(ranges, [undefined, "bytes=2000000-", undefined]);
  });

  const beside = (port: number) =>
    `fetch=x flynn.root=http://127.0.0.1:${port}/own/root.squashfs ds=nocloud-net;s=http://127.0.0.1:${port}/s/T0k-en_/\n`;
  test(`${under}: from a host beside it, which the boot server is told of`, async () => {
    const { mounted, said, paths } = await boot(shell, { cmdline: beside });
    assert.ok(mounted, said);
    assert.equal(paths, ["/root.squashfs", "/e/T0k-en_/peer"]);
  });

  test(`${under}: a host beside it that breaks off, or gives something else, is left for the boot server`, async () => {
    for (const first of [parts(image, 1_000_000), whole(changed)]) {
      const answers = [first, parts(image)];
      const { mounted, said, fetched, paths, ranges } = await boot(shell, { cmdline: beside, answers });
      assert.ok(mounted, said);
      assert.ok(fetched?.equals(image));
      assert.equal(paths, ["/root.squashfs", "/own/root.squashfs"]);
      assert.is(ranges[1], first === answers[0] && said.includes("broke off") ? "bytes=1000000-" : undefined);
    }
  });

  test(`${under}: a host beside it that sends without an end fills no memory, and is left for the boot server`, async () => {
    const answers = [endless, parts(image)];
    const { mounted, said, fetched, paths } = await boot(shell, { cmdline: beside, answers });
    assert.ok(mounted, said);
    assert.ok(fetched?.equals(image));
    assert.match(said, /the host beside it gave something else/);
    assert.equal(paths, ["/root.squashfs", "/own/root.squashfs"]);
  });

  test(`${under}: of a boot server that sends without an end no more is taken than shows that it is another image`, async () => {
    const { mounted, said } = await boot(shell, { answers: [endless] });
    assert.not.ok(mounted, said);
    assert.match(said, /BOOT REFUSED: the root image is not the one/);
  });

  test(`${under}: a host beside it that gives a byte now and then is left for the boot server`, async () => {
    const answers = [drip, parts(image)];
    const { mounted, said, fetched, paths } = await boot(shell, { cmdline: beside, answers, peerS: 2 });
    assert.ok(mounted, said);
    assert.ok(fetched?.equals(image));
    assert.equal(paths.slice(0, 2), ["/root.squashfs", "/own/root.squashfs"]);
  });

  test(`${under}: a host beside it that is gone costs one try`, async () => {
    const fetch = "http://127.0.0.1:1/root.squashfs";
    const { mounted, said, paths } = await boot(shell, { cmdline: beside, fetch });
    assert.ok(mounted, said);
    assert.equal(paths, ["/own/root.squashfs"]);
  });

  test(`${under}: what the boot server itself then gives wrong is refused`, async () => {
    const { mounted, said } = await boot(shell, { cmdline: beside, answers: [whole(changed)] });
    assert.not.ok(mounted);
    assert.match(said, /BOOT REFUSED: the root image is not the one/);
  });

  const seed = (port: number) => `boot=live ds=nocloud-net;s=http://127.0.0.1:${port}/s/T0k-en_/ console=tty0\n`;
  test(`${under}: a refusal is told to the boot server with the boot's own token, and shown on every console`, async () => {
    const { told, screen, said } = await boot(shell, {
      ...{ memTotalKib: 700_000, cmdline: seed, consoles: "tty0 ttyS0" },
    });
    const why = "this image needs 1024 MiB of memory, the machine has 683 MiB";
    assert.equal(told, [`/e/T0k-en_/refused memory ${why}`]);
    assert.match(screen, `flynn: BOOT REFUSED: ${why}. The machine restarts in 30 seconds.`);
    assert.match(said, `PANIC flynn: BOOT REFUSED: ${why}`);
  });

  test(`${under}: a boot for an inventory tells its refusal where its inventory would go`, async () => {
    const nonce = "n".repeat(40);
    const cmdline = (port: number) => `boot=live flynn.inventory=http://127.0.0.1:${port}/i/${nonce} console=tty0\n`;
    const { told } = await boot(shell, { memTotalKib: 700_000, cmdline });
    assert.equal(told, [`/i/${nonce}/refused memory this image needs 1024 MiB of memory, the machine has 683 MiB`]);
  });

  test(`${under}: steps are on every console too, once on each; with one console nothing is written twice`, async () => {
    const two = await boot(shell, { consoles: "tty0 ttyS0" });
    assert.match(two.screen, /^flynn: root image verified/m);
    assert.is(two.said.match(/root image verified/g)?.length, 1);
    assert.is((await boot(shell, { consoles: "tty0" })).screen, "");
  });

  test(`${under}: without a seed on the command line there is nobody to tell, and the refusal stands`, async () => {
    const { told, said } = await boot(shell, { memTotalKib: 1 });
    assert.equal(told, []);
    assert.match(said, /PANIC flynn: BOOT REFUSED/);
  });

  test(`${under}: a clock of 2020 is set to the boot server's before the image is fetched; one a little off is left`, async () => {
    const date = "Mon, 30 Nov 2026 13:30:00 GMT";
    const rightS = Date.parse(date) / 1_000;
    const of = async (clockS: number, said = date) => (await boot(shell, { clockS, date: said })).clockSet;
    assert.is(await of(Date.UTC(2020, 0, 1) / 1_000), `-u -s @${rightS}`);
    assert.is(await of(rightS + 86_400), `-u -s @${rightS}`, "one of the future too");
    assert.equal([await of(rightS - 60), await of(rightS + 59)], ["", ""]);
  });

  test(`${under}: a boot server that says no time, or nonsense, changes nothing and ends nothing`, async () => {
    for (const date of [undefined, "yesterday", "$(reboot) GMT", "Mon, 99 Xyz 2026 13:30:00 GMT"]) {
      const { clockSet, mounted } = await boot(shell, {
        clockS: 1_577_836_800,
        ...(date === undefined ? {} : { date }),
      });
      assert.equal([clockSet, mounted], ["", true], date);
    }
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

  test(`${under}: what GRUB loaded from an installed disk is checked and used, without asking anybody`, async () => {
    const { mounted, fetched, said, seed, requests } = await boot(shell, { fetch: "disk:", loaded: image });
    assert.ok(mounted, said);
    assert.equal(fetched, image);
    assert.is(seed, "#cloud-config\n");
    assert.is(requests, 0);
    assert.match(said, /root image verified: sha256 [0-9a-f]{64}[\s\S]*NETWORK-TRIED/);
  });

  test(`${under}: a root image that is damaged on the disk ends the boot before anything of it is mounted`, async () => {
    const damaged = Buffer.concat([image.subarray(0, 1_000), Buffer.alloc(1), image.subarray(1_001)]);
    const { mounted, said } = await boot(shell, { fetch: "disk:", loaded: damaged });
    assert.not.ok(mounted);
    assert.match(said, /BOOT REFUSED: the root image on this disk is damaged .*restarts in 10 seconds/);
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

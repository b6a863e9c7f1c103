// `hostd disk` on block devices (loop devices over sparse files): what it mounts, reads, writes, erases, and leaves alone.
import { createReadStream } from "node:fs";
import { mkdir, open, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { WipeOrder } from "#api/disks.ts";
import { exec } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { diskCommand, laterDiskCommand } from "../../hostd/state-disk/command.ts";
import type { Disk } from "../../hostd/state-disk/disk.ts";
import { diskOwner } from "../../hostd/state-disk/mark.ts";
import { type DiskOutcome, readNotes, readOutcome } from "../../hostd/state-disk/outcome.ts";
import { type MarksOf, readDisk } from "../../hostd/state-disk/probe.ts";
import { possibleMarks } from "../../hostd/state-disk/take.ts";
import { canDiscard } from "../../hostd/wipe/methods.ts";
import { wipeDisk } from "../../hostd/wipe/wipe.ts";
import { testCa } from "../hostd/fake-control.ts";
import { rowOf } from "../hostd/state-disk/fixture.ts";
import { openScope, type Scope } from "./scope.ts";

const SIZE = 2 * 1024 ** 3;
const MIB = 1 << 20;

interface Context {
  scope: Scope;
  caPem: string;
}
const lab = suite<Context>("disks");

lab.before(async (context) => {
  context.scope = await openScope();
  context.caPem = (await testCa()).caPem;
});
lab.after(async ({ scope }) => {
  await scope.close();
});

interface Machine {
  device: string;
  seed: Record<string, unknown>;
  look(): Promise<Disk>;
  write(at: number, bytes: Buffer): Promise<void>;
  /** One boot up to Docker's start; what was left for later is done when asked for. */
  boot(options?: { withinMs?: number; later?: boolean; order?: WipeOrder }): Promise<DiskOutcome & { notes: string[] }>;
  /** The step once more, in the same boot. */
  again(): Promise<void>;
  directories: Record<string, string>;
  /** The type of file system that Docker would get. */
  mounted(): Promise<string>;
  powerCut(): Promise<void>;
}

let machines = 0;

async function withMachine({ scope, caPem }: Context, body: (machine: Machine) => Promise<void>): Promise<void> {
  const folder = join(scope.folder, `machine-${++machines}`);
  scope.keep({ kind: "folder", path: folder });
  await mkdir(folder, { recursive: true });
  const file = join(folder, "disk");
  await writeFile(file, "");
  await truncate(file, SIZE);
  const { stdout } = await exec(["losetup", "--find", "--show", "--direct-io=on", file]);
  const device = stdout.trim();
  const seed = {
    controlUrls: ["https://127.0.0.1:1"],
    caPem,
    joinToken: "t",
    machineId: "m_1",
    hostname: "node-1",
    tags: {},
    diskPolicy: { name: "find-empty", mode: "find-empty" },
  };
  const seedFile = join(folder, "seed.json");
  const mountPoint = join(folder, "state");
  const directories = { docker: join(folder, "docker"), flynn: join(folder, "flynn") };
  const disk = { path: device, sizeBytes: SIZE, serial: "S1" };
  let boots = 0;
  const optionsOf = (runDir: string) => ({
    seedFile,
    runDir,
    signal: scope.signal,
    log: silentLog(),
    read: (marksOf: MarksOf) => readDisk(rowOf(disk), marksOf(disk), scope.signal).then((one) => [one]),
  });
  const powerCut = async () => {
    const mounts = (await readFile("/proc/self/mounts", "utf8")).split("\n").map((line) => line.split(" ")[1] ?? "");
    for (const mount of mounts.filter((at) => at.startsWith(`${folder}/`)).reverse()) await exec(["umount", mount]);
  };
  const machine: Machine = {
    device,
    seed,
    look: () =>
      readDisk(
        rowOf(disk),
        possibleMarks(diskOwner({ caPem, machineId: "m_1", hostname: "node-1" }), disk, undefined),
        scope.signal,
      ),
    async write(at, bytes) {
      const opened = await open(device, "r+");
      await opened.write(bytes, 0, bytes.length, at);
      await opened.sync();
      await opened.close();
    },
    async boot({ withinMs, later = false, order } = {}) {
      await powerCut();
      const runDir = join(folder, `run-${++boots}`);
      await writeFile(seedFile, JSON.stringify({ ...seed, ...(order ? { wipeOrder: order } : {}) }));
      const options = optionsOf(runDir);
      await diskCommand({ ...options, mountPoint, directories, ...(withinMs === undefined ? {} : { withinMs }) });
      if (later) await laterDiskCommand(options);
      const notes = (await readNotes(runDir)).map(({ message }) => message);
      return { ...(await readOutcome(runDir))!, notes };
    },
    directories,
    again: () => diskCommand({ ...optionsOf(join(folder, `run-${boots}`)), mountPoint, directories }),
    async mounted() {
      const types = await Promise.all(
        Object.values(directories).map(async (target) =>
          (await exec(["findmnt", "--noheadings", "--output", "FSTYPE", "--mountpoint", target])).stdout.trim(),
        ),
      );
      return [...new Set(types)].join(" ");
    },
    powerCut,
  };
  try {
    await body(machine);
  } finally {
    await powerCut();
    await exec(["losetup", "--detach", device]);
  }
}

lab("an empty disk keeps the state from the first boot on, and the next boot finds it again", (context) =>
  withMachine(context, async (machine) => {
    const first = await machine.boot();
    assert.is(first.did, "format", first.reason);
    assert.is(await machine.mounted(), "ext4");
    const second = await machine.boot();
    assert.is(second.did, "use");
    assert.match(second.disks[0]!.holds, /is this host's state disk/);
    assert.is(await machine.mounted(), "ext4");
  }),
);

lab(
  "where secrets stay in RAM, Docker's records of containers do, also when the step was cut off and is run again",
  (context) =>
    withMachine(context, async (machine) => {
      const records = async () => {
        const docker = machine.directories["docker"]!;
        const args = ["--noheadings", "--output", "FSTYPE", "--mountpoint", join(docker, "containers")];
        return (await exec(["findmnt", ...args]).catch(({ stdout }: { stdout: string }) => ({ stdout }))).stdout.trim();
      };
      await machine.boot();
      assert.is(await records(), "", "its profile says nothing of secrets");
      machine.seed["secrets"] = "ram";
      assert.is((await machine.boot()).did, "use");
      assert.is(await records(), "tmpfs");
      await exec(["umount", join(machine.directories["docker"]!, "containers")]);
      await exec(["umount", machine.directories["flynn"]!]);
      await machine.again();
      assert.is(await records(), "tmpfs");
      assert.is(await machine.mounted(), "ext4");
      await machine.again();
      const { stdout } = await exec(["findmnt", "--noheadings", "--output", "TARGET", "--types", "tmpfs"]);
      const there = stdout.split("\n").filter((line) => line.includes(machine.directories["docker"]!));
      assert.equal(there.length, 2, "once each: Docker's own records, and those of a containerd that it starts itself");
    }),
);

lab("one that takes longer is read beside the running host, and keeps the state from the next boot on", (context) =>
  withMachine(context, async (machine) => {
    const first = await machine.boot({ withinMs: 1, later: true });
    assert.is(first.did, "ram");
    assert.match(first.reason, /state in RAM in this boot, while every byte of .* is read/);
    assert.is(await machine.mounted(), "tmpfs");
    assert.match(first.notes.join("\n"), /50 % read \(1 GiB, all zero\)/);
    assert.match(first.notes.at(-1)!, /keeps the state from the next boot on: .*every byte of which was read as zero/);
    assert.is((await machine.boot({ withinMs: 1 })).did, "use");
  }),
);

lab("data in the middle of a disk is found, named and left alone, at boot and later", (context) =>
  withMachine(context, async (machine) => {
    await machine.write(100 * MIB, Buffer.alloc(64 * MIB, 7));
    const sum = async () => (await exec(["sha256sum", machine.device])).stdout;
    const before = await sum();
    const first = await machine.boot();
    assert.is(first.did, "ram");
    assert.is(first.warn, true);
    assert.match(
      first.reason,
      /holds data at 100 MiB \(byte 104857600\); nothing was written.*flynn machine wipe node-1/,
    );
    const later = await machine.boot({ withinMs: 1, later: true });
    assert.match(later.notes.join("\n"), /holds data at 100 MiB \(byte 104857600\)/);
    assert.is(await machine.mounted(), "tmpfs");
    assert.is(await sum(), before);
  }),
);

lab(
  "a disk that a person gave up is erased to the last byte and taken, once; one that changed since is not",
  (context) =>
    withMachine(context, async (machine) => {
      await exec(["mkfs.ext4", "-q", "-F", "-L", "backup", machine.device]);
      await machine.write(1500 * MIB + 5, Buffer.from("precious"));
      const seen = await machine.boot();
      assert.is(seen.did, "ram");
      const [listed] = seen.disks;
      assert.match(listed!.holds, /holds ext4 \(label backup\)/);
      const order: WipeOrder = {
        id: "w_1",
        fingerprint: listed!.fingerprint,
        path: listed!.path,
        serial: "S1",
        sizeBytes: SIZE,
        orderedAt: "2026-01-01T00:00:00Z",
        orderedBy: "admin",
      };
      await machine.write(512 * 1024, Buffer.from("newer"));
      const changed = await machine.boot({ order });
      assert.is(changed.did, "ram");
      assert.is(changed.wipe?.did, "refused");
      assert.match(changed.wipe!.reason, /nothing was wiped: .* has another fingerprint now/);
      assert.match(changed.notes.join("\n"), /nothing was wiped/);
      const { fingerprint } = changed.disks[0]!;
      const wiped = await machine.boot({ order: { ...order, fingerprint } });
      assert.is(wiped.did, "format", wiped.reason);
      assert.equal([wiped.wipe?.did, await machine.mounted()], ["begun", "ext4"]);
      assert.match(wiped.reason, /erased as admin ordered/);
      // The same order again, since control may not have heard of it yet: nothing more is wiped.
      await writeFile(join(await stateOf(machine), "kept"), "kept");
      assert.is((await machine.boot({ order: { ...order, fingerprint } })).did, "use");
      assert.is(await readFile(join(await stateOf(machine), "kept"), "utf8"), "kept");
      await machine.powerCut();
      const { stdout } = await exec(["grep", "--text", "--count", "precious", machine.device]).catch(
        ({ stdout: out }: { stdout: string }) => ({ stdout: out }),
      );
      assert.is(stdout.trim(), "0");
    }),
);

lab("a disk that somebody writes to while it is read, or has in use, is not taken", (context) =>
  withMachine(context, async (machine) => {
    const writer = setInterval(() => {
      void machine.write(0, Buffer.alloc(512)).catch(() => undefined); // zeros: no byte tells
    }, 20);
    try {
      const outcome = await machine.boot();
      assert.is(outcome.did, "ram");
      assert.match(outcome.reason, /was written to by something else while it was read/);
    } finally {
      clearInterval(writer);
    }
    await exec(["mkswap", machine.device]);
    assert.match((await machine.boot()).reason, /holds swap/);
    assert.is((await machine.look()).mark, undefined);
  }),
);

lab("a disk is wiped beside the running host, by each means of the kernel, and every byte is read back", (context) =>
  withMachine(context, async (machine) => {
    const owner = diskOwner({ caPem: context.caPem, machineId: "m_1", hostname: "node-1" });
    for (const [method, did] of [
      ["zero", "zeros written"],
      ["auto", "discarded"],
    ] as const) {
      await exec(["mkfs.ext4", "-q", "-F", "-L", "customers", machine.device]);
      await machine.write(1500 * MIB + 5, Buffer.from("precious"));
      const disk = await machine.look();
      const task = { orderId: "mo_1", fingerprint: disk.fingerprint, path: machine.device, serial: "S1" };
      const { signal } = context.scope;
      const evidence = await wipeDisk({
        disk,
        task: { ...task, sizeBytes: SIZE, method, verify: "all", begun: false },
        owner,
        canDiscard: await canDiscard(machine.device),
        onProgress: () => undefined,
        signal,
      });
      assert.is(evidence.did, did);
      assert.is(evidence.bytesRead, SIZE);
      const zero = Buffer.alloc(MIB);
      let bytes = 0;
      for await (const chunk of createReadStream(machine.device, { highWaterMark: MIB })) {
        assert.ok((chunk as Buffer).equals(zero.subarray(0, (chunk as Buffer).length)), `near byte ${bytes}`);
        bytes += (chunk as Buffer).length;
      }
      assert.is(bytes, SIZE);
    }
    // One that is in use is refused by the kernel, before anything is written.
    assert.is((await machine.boot()).did, "format");
    const used = await machine.look();
    const why = await wipeDisk({
      disk: used,
      task: {
        ...{ orderId: "mo_2", fingerprint: used.fingerprint, path: machine.device, sizeBytes: SIZE, begun: false },
        ...{ method: "zero", verify: "all" },
      },
      ...{ owner, canDiscard: false, onProgress: () => undefined, signal: context.scope.signal },
    }).catch((error: Error) => error.message);
    assert.match(String(why), /is in use; nothing was erased/);
    assert.is((await machine.boot()).did, "use", "its state is there still");
  }),
);

const stateOf = async (machine: Machine): Promise<string> =>
  (
    await exec(["findmnt", "--noheadings", "--first-only", "--output", "TARGET", "--source", machine.device])
  ).stdout.trim();

lab.run();

// Wiping on files: the same bytes as on a disk, erased by writing zeros, since blkdiscard takes devices alone (test/lab/disks.test.ts).
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { reportHostDisks } from "#api/disks.ts";
import { Fault } from "#api/fault.ts";
import { reportHostWipe, type WipeTask } from "#api/wipes.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { findDisk } from "../../../hostd/wipe/find.ts";
import { openWipes } from "../../../hostd/wipe/loop.ts";
import { meansOf } from "../../../hostd/wipe/methods.ts";
import { type discardPart, wipeDisk } from "../../../hostd/wipe/wipe.ts";
import { type FileDisk, look, MIB, makeDisk, owner, signal, take, withFolder } from "../state-disk/fixture.ts";

type Part = Parameters<typeof discardPart>[0];

async function zeroPart({ path, at, length }: Part): Promise<void> {
  const file = await open(path, "r+");
  await file.write(Buffer.alloc(length), 0, length, at);
  await file.close();
}

async function used(folder: string): Promise<FileDisk> {
  return makeDisk(join(folder, "disk"), {
    content: [
      [0, "somebody's"],
      [5 * MIB, "data"],
      [-4, "end!"],
    ],
  });
}

const taskOf = async (disk: FileDisk, more: Partial<WipeTask> = {}): Promise<WipeTask> => ({
  orderId: "mo_1",
  fingerprint: (await look(disk)).fingerprint,
  path: "/dev/sda",
  serial: "S1",
  sizeBytes: disk.sizeBytes,
  method: "auto",
  verify: "all",
  begun: false,
  ...more,
});

const isZero = async (path: string) => (await readFile(path)).every((byte) => byte === 0);

test("a wiped disk is zero to its last byte, which was read and counted", () =>
  withFolder(async (folder) => {
    const disk = await used(folder);
    const said: string[] = [];
    const evidence = await wipeDisk({
      ...{ disk, task: await taskOf(disk), owner, canDiscard: false, erasePart: zeroPart, signal },
      onProgress: (step, percent, progress) => said.push(`${step} ${Math.round(percent)} ${progress}`),
    });
    assert.ok(await isZero(disk.path));
    assert.is(evidence.bytesRead, disk.sizeBytes);
    assert.is(evidence.did, "zeros written");
    assert.match(said[0]!, /writing zeros 50 16 MiB of 16 MiB, .*\/s$/);
    assert.match(said.at(-1)!, /reading it back 100 16 MiB of 16 MiB/);
  }));

test("a disk that says it forgot and did not is written over, and the proof says both", () =>
  withFolder(async (folder) => {
    const disk = await used(folder);
    const lies = async (part: Part) => (part.means === "discard" ? undefined : zeroPart(part));
    const options = { disk, task: await taskOf(disk), owner, canDiscard: true, erasePart: lies, signal };
    const { did } = await wipeDisk({ ...options, onProgress: () => undefined });
    assert.is(did, "discarded, then zeros written");
    assert.ok(await isZero(disk.path));
  }));

test("a disk that keeps a byte is no wiped disk", () =>
  withFolder(async (folder) => {
    const disk = await used(folder);
    const options = {
      disk,
      task: await taskOf(disk),
      owner,
      canDiscard: false,
      erasePart: async () => undefined,
      signal,
    };
    const why = await wipeDisk({ ...options, onProgress: () => undefined }).then(
      () => "wiped",
      (error: Error) => `${error.message}: ${(error.cause as Error).message}`,
    );
    assert.match(
      why,
      /all that was on .* is lost: byte 5242880 of .* is not zero after zeros were written; the disk is faulty/,
    );
  }));

test("what a power cut ends is gone on with by the next boot, is never taken meanwhile, and no other order touches it", () =>
  withFolder(async (folder) => {
    const disk = await used(folder);
    const task = await taskOf(disk);
    const cut = new AbortController();
    const half = async (part: Part) => {
      await zeroPart({ ...part, length: 4 * MIB });
      cut.abort(new Error("the power went"));
      cut.signal.throwIfAborted();
    };
    const options = { disk, task, owner, canDiscard: false, onProgress: () => undefined };
    const why = await wipeDisk({ ...options, erasePart: half, signal: cut.signal }).catch(
      (error: Error) => error.message,
    );
    assert.match(String(why), /^stopped: the first 4 KiB of .* are lost$/);
    const after = await look(disk);
    assert.is(findDisk([after], task, owner).do, "wipe");
    assert.is((findDisk([after], task, owner) as { resumed: boolean }).resumed, true);
    assert.is(findDisk([after], { ...task, orderId: "mo_2" }, owner).do, "fail");
    assert.is(findDisk([after], task, { ...owner, machineId: "m_2" }).do, "fail");
    const before = await readFile(disk.path);
    assert.match((await take([disk], { folder })).taken.choice.reason, /is half wiped, by order mo_1/);
    assert.ok(before.equals(await readFile(disk.path)));
    await wipeDisk({ ...options, erasePart: zeroPart, signal });
    assert.ok(await isZero(disk.path));
  }));

test("a disk that holds something else than when it was given up is left alone; a used one waits", () =>
  withFolder(async (folder) => {
    const disk = await used(folder);
    const task = await taskOf(disk);
    const seen = await look(disk);
    const other = { ...seen, fingerprint: "9".repeat(64) };
    assert.match(JSON.stringify(findDisk([other], task, owner)), /holds something else now than when it was given up;/);
    assert.match(JSON.stringify(findDisk([other], { ...task, begun: true }, owner)), /given up or wiped; nothing more/);
    assert.is(findDisk([{ ...other, zeroEnds: true }], { ...task, begun: true }, owner).do, "wipe");
    assert.is(findDisk([{ ...other, zeroEnds: true }], task, owner).do, "fail", "nothing of it was begun");
    assert.is(findDisk([{ ...seen, mounted: true }], task, owner).do, "wait");
    assert.is(findDisk([{ ...seen, builtOn: ["md0"] }], task, owner).do, "fail");
    assert.is(findDisk([seen, { ...seen, path: "/dev/twin" }], task, owner).do, "fail");
    assert.is(findDisk([], task, owner).do, "fail");
  }));

test("a disk whose power went while it erased itself is locked: the order's end says its password, whole", () =>
  withFolder(async (folder) => {
    const disk = await used(folder);
    const task = await taskOf(disk, { method: "secure", begun: true });
    const locked = { ...(await look(disk)), path: "/dev/sda", serial: "S1", fingerprint: "not read", zeroEnds: false };
    const why = (one: WipeTask, path = "/dev/sda") => {
      const found = findDisk([{ ...locked, path }], one, owner);
      assert.is(found.do, "fail");
      return (found as { why: string }).why;
    };
    assert.match(why(task), /locked with the password "flynn": .*--security-unlock flynn \/dev\/sda, then .*-disable/);
    assert.ok(why(task, "/dev/sdaa").length < 400, "as much as a report has room for");
    assert.not.match(why({ ...task, begun: false }), "password");
    assert.not.match(why({ ...task, method: "auto" }), "password", "a disk is not told to erase itself by this");
  }));

test("a disk that is given up is not the state disk at the next boot", () =>
  withFolder(async (folder) => {
    const disk = await makeDisk(join(folder, "disk"));
    assert.is((await take([disk], { folder })).taken.choice.do, "use");
    const { fingerprint } = await look(disk);
    const { taken } = await take([disk], { folder, givenUp: [fingerprint] });
    assert.match(taken.choice.reason, /state in RAM: .* is to be wiped, as a person ordered/);
  }));

test("by which means a disk is erased follows from the method and from what the disk has", () => {
  assert.equal(meansOf("auto", false), ["own", "zero"]);
  assert.equal(meansOf("auto", true), ["own", "discard", "zero"]);
  assert.equal(meansOf("secure", false), ["own", "secure", "zero"]);
  assert.equal(meansOf("zero", true), ["zero"]);
});

interface Said {
  state: string;
  step: string;
  evidence?: object;
}

/** A loop over one file, and what control heard of it. */
function loopOf(disk: FileDisk, erasePart: typeof discardPart, options: { deaf?: number } = {}) {
  const said: Said[] = [];
  const reported: number[] = [];
  let deaf = options.deaf ?? 0;
  const end = new AbortController();
  const call = async (endpoint: unknown, { body }: { body: Said & { disks: unknown[] } }) => {
    if (endpoint === reportHostDisks) return void reported.push(body.disks.length);
    assert.is(endpoint, reportHostWipe);
    if (body.state === "done" && deaf-- > 0) throw new Fault("unavailable", "control is away");
    said.push(body);
    return {};
  };
  const wipes = openWipes({
    client: { call: call as never },
    hostId: "h1",
    owner: () => owner,
    read: async () => [await look(disk)],
    wipe: (one) => wipeDisk({ ...one, erasePart }),
    log: silentLog(),
    signal: end.signal,
  });
  const running = wipes.run();
  const close = async () => {
    end.abort();
    await running;
  };
  return { said, reported, wipes, close };
}

test("the host reports that it begins before it does, the proof until it is heard, and then its disks anew", () =>
  withFolder(async (folder) => {
    const disk = await used(folder);
    const task = await taskOf(disk);
    let saidBefore = "";
    const loop = loopOf(
      disk,
      async (part) => {
        saidBefore ||= loop.said.map(({ state }) => state).join();
        await zeroPart(part);
      },
      { deaf: 1 },
    );
    loop.wipes.setTarget({ wipes: [task] });
    await until(() => loop.reported.length > 0, { what: "its end", timeoutMs: 20_000 });
    loop.wipes.setTarget({ wipes: [{ ...task, begun: true }] });
    await loop.close();
    assert.is(saidBefore, "running");
    assert.is(loop.said.filter(({ state }) => state === "done").length, 1);
    assert.ok(loop.said.at(-1)!.evidence);
    assert.ok(await isZero(disk.path));
  }));

test("an order that is taken back stops between two parts, and what is lost is said", () =>
  withFolder(async (folder) => {
    const disk = await used(folder);
    const loop = loopOf(disk, async (part) => {
      loop.wipes.setTarget({});
      part.signal.throwIfAborted();
    });
    loop.wipes.setTarget({ wipes: [await taskOf(disk)] });
    await until(() => loop.said.some(({ state }) => state === "failed"), { what: "its end", timeoutMs: 20_000 });
    await loop.close();
    assert.match(loop.said.at(-1)!.step, /^stopped: the first 4 KiB of .* are lost: the order was taken back/);
    assert.not(await isZero(disk.path));
  }));

test.run();

// time limit: 120 s
// A whole control on a disk that is full: it starts, answers what is read, refuses what would change in plain words, says so in its status,
// and once there is room goes on by itself and leaves an event.
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp, listApps } from "#api/apps.ts";
import { type Fault, isFault } from "#api/fault.ts";
import { getStatus, listEvents } from "#api/status.ts";
import { exec } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import { writingProblem } from "../../../control/disk/writing.ts";
import { type ControlProcess, withControl } from "../../api/control-process.ts";

async function fill(path: string): Promise<void> {
  const file = await open(path, "a");
  for (let chunk = 1 << 20; chunk >= 1; chunk >>= 1) {
    const wrote = () =>
      file.write(Buffer.alloc(chunk)).then(
        ({ bytesWritten }) => bytesWritten === chunk,
        () => false,
      );
    while (await wrote());
  }
  await file.close();
}

const storePart = async ({ admin }: ControlProcess) =>
  (await admin.call(getStatus)).parts.find(({ name }) => name === "store")!;
const refusal = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => "it was taken",
    (error: unknown) => error,
  );

test("control on a full disk, running and started anew: it reads, refuses in words, and goes on when there is room", async () => {
  const mount = await mkdtemp(join(tmpdir(), "control-full-"));
  const filler = join(mount, "filler");
  await exec(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", mount]); // needs root, as all of the lab does
  try {
    await withControl(
      async (control) => {
        const { admin } = control;
        const create = (name: string) => admin.call(createApp, { body: { name } });
        const names = async () => (await admin.call(listApps)).items.map(({ name }) => name).sort();
        const isDown = async () => (await storePart(control)).state === "down";
        const isWritten = async () => (await storePart(control)).state !== "down";
        const wait = { timeoutMs: 30_000, everyMs: 50 };
        await create("before");

        await fill(filler);
        const fault = await refusal(
          (async () => {
            for (let n = 0; n < 5_000; n++) await create(`app-${n}`);
          })(),
        );
        assert.ok(isFault(fault, "no-capacity"), String(fault));
        assert.match((fault as Fault).message, /takes no changes now.*Free space there/);
        await until(isDown, { what: "the status says so", ...wait });
        assert.match((await storePart(control)).message, /disk is full/);
        const kept = await names();
        assert.ok(kept.includes("before"));

        await control.restart();
        assert.equal(await names(), kept, "it started on the full disk, and reads");
        assert.ok(isFault(await refusal(create("other")), "no-capacity"));
        assert.ok(await isDown());

        await rm(filler);
        await until(isWritten, { what: "changes are taken again", ...wait });
        await create("after");
        assert.equal(await names(), [...kept, "after"].sort());
        const resumed = async () => (await admin.call(listEvents)).items.some(({ type }) => type === "store.resumed");
        await until(resumed, { what: "the event", ...wait });
        await control.restart();
        assert.ok((await names()).includes("after"));
      },
      { within: mount },
    );
  } finally {
    await until(() => exec(["umount", mount]).then(() => true), { what: "unmounting", timeoutMs: 30_000 });
    await rm(mount, { recursive: true, force: true });
  }
});

test("a slow disk is said with what it took and what to look at, a fast one with nothing", () => {
  assert.is(writingProblem({ paused: undefined, worstWriteMs: 20 }), undefined);
  const slow = writingProblem({ paused: undefined, worstWriteMs: 1_700 })!;
  assert.is(slow.state, "degraded");
  assert.match(slow.message, /disk is slow.*1\.7 ?s.*iostat/);
});

test.run();

// What a person ordered for one boot is given at one boot: over a restart of the boot server, a power cut while it is written, and a full
// disk, with the journal on disk as the boot server has it.
import { appendFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BootMachine, BootTarget } from "#api/boot.ts";
import { silentLog } from "#lib/log.ts";
import { createOnce, type Once, type OnceRecord } from "../../../bootstrap/identity/once.ts";
import { openJournal } from "../../../bootstrap/journal.ts";

const log = silentLog();
const ordered = (id: string) => ({ once: { id, target: "rescue" } }) as BootMachine;
const targetOf = (...machines: BootMachine[]) => ({ machines }) as unknown as BootTarget;

/** A boot server's time from its start to its end, with its journal at `path`. */
async function run<T>(path: string, work: (once: Once) => Promise<T>): Promise<T> {
  const once = createOnce({ save: (record) => journal.append(record) });
  const journal = await openJournal<OnceRecord>({ path, replay: once.replay, live: once.given, log });
  try {
    return await work(once);
  } finally {
    await journal.close();
  }
}

async function withJournal(work: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "flynn-once-"));
  try {
    await work(join(folder, "once.journal"));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test("an order that was given is not given again, after a restart either; another order is", () =>
  withJournal(async (path) => {
    await run(path, async (once) => {
      assert.is(once.of(ordered("o1"))?.target, "rescue");
      await once.give("o1");
      assert.is(once.of(ordered("o1")), undefined);
    });
    await run(path, async (once) => {
      assert.is(once.of(ordered("o1")), undefined);
      assert.is(once.of(ordered("o2"))?.id, "o2");
    });
  }));

test("it is on disk when the script may go out", () =>
  withJournal(async (path) => {
    await run(path, async (once) => {
      await once.give("o1");
      assert.match(await readFile(path, "utf8"), /"o1"/);
    });
  }));

test("of two that ask at once one gets it", () =>
  withJournal((path) =>
    run(path, async (once) => {
      const giving = once.give("o1");
      assert.is(once.of(ordered("o1")), undefined);
      await giving;
    }),
  ));

test("what could not be written was not given: it is given at the next boot", async () => {
  const once = createOnce({ save: () => Promise.reject(new Error("no space left on device")) });
  const failure = await once.give("o1").catch((error: Error) => error.message);
  assert.is(failure, "no space left on device");
  assert.is(once.of(ordered("o1"))?.id, "o1");
});

test("a line that a power cut tore is left out, and what was whole before it counts", () =>
  withJournal(async (path) => {
    await run(path, (once) => once.give("o1"));
    await appendFile(path, (await readFile(path, "utf8")).slice(0, 12));
    await run(path, async (once) => {
      assert.is(once.of(ordered("o1")), undefined);
      assert.is(once.of(ordered("o2"))?.id, "o2");
    });
  }));

test("an order that control names no more is forgotten, after a restart too", () =>
  withJournal(async (path) => {
    await run(path, async (once) => {
      await once.give("o1");
      await once.give("o2");
    });
    await run(path, async (once) => {
      once.setTarget(targetOf(ordered("o2")));
      assert.equal(once.given(), [{ orderId: "o2" }]);
    });
    await run(path, async (once) => {
      once.setTarget(targetOf());
      assert.equal(once.given(), []);
    });
  }));

test.run();

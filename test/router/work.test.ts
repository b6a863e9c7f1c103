// time limit: 120 s
// What a change costs does not depend on what there is beside it: pools placed, backends compared, rows and keys written are counted.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RouterTarget, RouterTargetPart } from "#api/router-agents.ts";
import { until } from "#lib/time.ts";
import { assembler } from "../../router/assemble.ts";
import type { ConvergerWork } from "../../router/converge.ts";
import { readKept } from "../../router/kept.ts";
import { get, origin, type Rig, startRig, target } from "./rig.ts";
import { certificateFor, handshake } from "./secure.ts";

const POOLS = 300;
const QUIET = { backends: 512, slots: 2, verifyEveryMs: 600_000 };

const whole = (generation: number, port: number): RouterTarget =>
  target(
    generation,
    Array.from({ length: POOLS }, (_, n) => ({ app: `app${n}`, routes: [`a${n}.test`], jobs: [{ port }] })),
  );
const difference = (generation: number, over: Partial<RouterTargetPart>): RouterTargetPart => ({
  term: 1,
  generation,
  since: generation - 1,
  clusterRange: "100.64.0.0/16",
  pools: [],
  routes: [],
  ...over,
});
const poolAt = (n: number, port: number) => ({ ...whole(1, port).pools[n]! });

/** Once nothing drains any more, so that a turn that was on its way is not counted to what follows. */
async function workOf(rig: Rig, change: () => Promise<void>): Promise<ConvergerWork> {
  const isQuiet = () => rig.converger.state().draining.length === 0;
  await until(isQuiet, { what: "end of drains", timeoutMs: 10_000 });
  const before = rig.converger.work();
  await change();
  await until(isQuiet, { what: "end of drains", timeoutMs: 10_000 });
  const after = rig.converger.work();
  const names = Object.keys(after) as (keyof ConvergerWork)[];
  return Object.fromEntries(names.map((name) => [name, after[name] - before[name]])) as unknown as ConvergerWork;
}

test("one job's move places one pool, compares one backend and writes one row, whatever there is beside it", async () => {
  const [a, b] = [await origin("a"), await origin("b")];
  const rig = await startRig(QUIET);
  try {
    const { add } = assembler();
    await rig.serve(add(whole(1, a.port))!);
    const work = await workOf(rig, () => rig.serve(add(difference(2, { pools: [poolAt(7, b.port)] }))!));
    assert.is((await get(rig.port, "a7.test")).body, "b");
    assert.is((await get(rig.port, "a8.test")).body, "a");
    // Placed and then, when the old job has left its slot, once more.
    assert.ok(work.pools >= 1 && work.pools <= 4, JSON.stringify(work));
    assert.ok(work.backends >= 1 && work.backends <= 4, JSON.stringify(work));
    assert.ok(work.commands <= 4, JSON.stringify(work));
    assert.ok(work.rowsKept <= 6, JSON.stringify(work));
    const same = await workOf(rig, () => rig.serve(add(difference(3, {}))!));
    assert.equal([same.pools, same.backends, same.commands], [0, 0, 0]);
    const gone = await workOf(rig, () =>
      rig.serve(add(difference(4, { removed: { pools: ["app9/web"], routes: [{ domain: "a9.test", path: "/" }] } }))!),
    );
    assert.is((await get(rig.port, "a9.test")).status, 404);
    assert.ok(gone.backends <= 4 && gone.commands <= 7, JSON.stringify(gone));
    assert.is(rig.converger.state().reloads, 0);
  } finally {
    await rig.end();
    await Promise.all([a.close(), b.close()]);
  }
});

test("what was said as differences is there after a crash, from the journal beside the last whole files", async () => {
  const [a, b] = [await origin("a"), await origin("b")];
  const rig = await startRig(QUIET);
  let next: Rig | undefined;
  try {
    const { add } = assembler();
    await rig.serve(add(whole(1, a.port))!);
    await rig.serve(add(difference(2, { pools: [poolAt(7, b.port)] }))!);
    await rig.serve(
      add(difference(3, { removed: { routes: [{ domain: "a9.test", path: "/" }], pools: ["app9/web"] } }))!,
    );
    assert.is(JSON.parse(await readFile(join(rig.directory, "target.json"), "utf8")).generation, 1);
    const kept = await readKept(rig.directory);
    assert.is(kept.target?.generation, 3);
    assert.is(kept.target?.routes.length, POOLS - 1);
    await rig.abandon();
    next = await startRig({ ...QUIET, directory: rig.directory, port: rig.port });
    assert.is(next.converger.state().generation, 3);
    assert.is(next.converger.state().reloads, 0);
    assert.is((await get(rig.port, "a7.test")).body, "b");
    assert.is((await get(rig.port, "a9.test")).status, 404);
  } finally {
    await (next ?? rig).end();
    await Promise.all([a.close(), b.close()]);
  }
});

test("a key is written and given to HAProxy when it is new, and only then; one that is gone is gone from the disk", async () => {
  const job = await origin("a");
  const rig = await startRig({ ...QUIET, backends: 8, https: true });
  let next: Rig | undefined;
  try {
    const [one, two, other] = await Promise.all(
      [["one"], ["two"], ["two"]].map(([id]) => certificateFor(id!, [`${id}.test`])),
    );
    const { add } = assembler();
    const first = { ...target(1, [{ app: "a", routes: ["one.test", "two.test"], jobs: [job] }]) };
    const loaded = await workOf(rig, () => rig.serve(add({ ...first, certificates: [one!, two!] })!));
    assert.equal([loaded.certificatesParsed, loaded.certificatesWritten], [2, 2]);
    const moved = await workOf(rig, () =>
      rig.serve(
        add({
          ...target(2, [{ app: "a", routes: ["one.test"], jobs: [job] }]),
          certificates: [
            { id: "one", names: one!.names },
            { id: "two", names: two!.names },
          ],
        })!,
      ),
    );
    assert.equal([moved.certificatesParsed, moved.certificatesWritten], [0, 0]);
    const replaced = await workOf(rig, () => rig.serve(add(difference(3, { certificates: [other!] }))!));
    assert.equal([replaced.certificatesParsed, replaced.certificatesWritten], [1, 1]);
    assert.is((await handshake(rig.httpsPort, "two.test")).names, "DNS:two.test");
    const secret = two!.pem.split("\n").at(-3)!;
    const files = await readdir(rig.directory, { recursive: true, withFileTypes: true });
    const texts = files
      .filter((file) => file.isFile())
      .map((file) => readFile(join(file.parentPath, file.name), "latin1"));
    assert.not.ok((await Promise.all(texts)).join("\n").includes(secret), "the replaced key is on disk");
    await rig.abandon();
    next = await startRig({ ...QUIET, backends: 8, https: true, directory: rig.directory, port: rig.port });
    assert.is(next.converger.work().certificatesWritten, 0, "what is on disk is not written again");
  } finally {
    await (next ?? rig).end();
    await job.close();
  }
});

test.run();

// time limit: 240 s
// That a sync is there, and comes in the right order: a small control plane runs under strace, and a checker (sync-trace.ts) reads from its calls
// what a power cut would lose at any moment. kill -9 shows nothing of that, since the page cache outlives the process. How it is known to
// notice: each fault of the list below is planted into a copy of the sources, and must be found. Left out, since a later sync
// covers it before anybody relies on it: the sync of the directory after a rebuild, and LevelDB's own first writes.
import { cp, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ExecError, exec } from "#lib/exec.ts";
import { inScratch } from "./scratch.ts";
import { lossesIn } from "./sync-trace.ts";

const HERE = fileURLToPath(new URL("../../../", import.meta.url));
const CALLS =
  "openat,write,pwrite64,writev,pwritev,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,ftruncate";

/** What a power cut could lose, `planted` when the sources hold a fault: they may then end early, and what they did until there is judged. */
async function losses(tree: string, scratch: string, planted = false): Promise<string[]> {
  const root = join(scratch, "root");
  const trace = join(scratch, "trace");
  await mkdir(root);
  const program = [process.execPath, join(tree, "test/control/store/sync-workload.ts"), root];
  const done = await exec(["strace", "-f", "-qq", "-y", "-s", "64", "-o", trace, "-e", `trace=${CALLS}`, ...program], {
    cwd: tree,
    timeoutMs: 60_000,
  }).catch((cause: unknown) => {
    if (planted && cause instanceof ExecError && cause.exitCode === 1) return cause;
    throw cause;
  });
  if (!(done instanceof ExecError)) assert.match(done.stdout, /ack file\n$/);
  const calls = await readFile(trace, "latin1");
  for (const needed of ["fdatasync(", planted ? "ack record 3" : "ack record 9"])
    assert.ok(calls.includes(needed), `no ${needed} in the trace`);
  return lossesIn(calls, root);
}

test("what was acknowledged is on disk: records, segments, snapshots, terms, a restored state, an atomically written file", () =>
  inScratch(async (scratch) => {
    assert.equal(await losses(HERE, scratch), []);
  }));

type Edit = [file: string, from: string, to: string];
const PLANTED: [fault: string, found: RegExp, ...edits: Edit[]][] = [
  [
    "the journal is not written through",
    /bytes of .*journal-/,
    ["control/store/journal.ts", "constants.O_WRONLY | constants.O_DSYNC", "constants.O_WRONLY"],
  ],
  [
    "a group is acknowledged before the journal has it",
    /not in the journal/,
    [
      "control/store/log-level.ts",
      "frame && journal!.append(frame.bytes)",
      "frame && void setTimeout(() => void journal?.append(frame.bytes).catch(() => undefined), 20)",
    ],
  ],
  [
    "LevelDB's batch is not synced",
    /record.*bytes of .*level\/\d+\.log/,
    ["control/store/log-level.ts", "batch.write({ sync: true })", "batch.write()"],
  ],
  [
    "the head of an opening is not synced",
    /opened: bytes of .*level\/\d+\.log/,
    [
      "control/store/level-open.ts",
      "await db.put(HEAD_ROW, headRow(state.head), { sync: true });",
      "await db.put(HEAD_ROW, headRow(state.head));",
    ],
  ],
  [
    "a new segment's name is not synced",
    /the name .*journal-/,
    ["control/store/journal.ts", "    await syncDirectory(directory);\n", ""],
  ],
  [
    "a segment that was cut is not synced",
    /bytes of .*journal-/,
    [
      "control/store/journal.ts",
      "  await file.truncate(soundBytes);\n  await file.sync();\n",
      "  await file.truncate(soundBytes);\n",
    ],
  ],
  [
    "a snapshot is renamed before it is synced",
    /snapshot-.* may be found with half/,
    ["control/store/snapshot.ts", "    await file.sync();\n", ""],
  ],
  [
    "a restored directory's name is not synced",
    /restored: the name .*store/,
    ["control/store/restore.ts", "    await syncDirectory(dirname(directory));\n", ""],
  ],
  [
    "an atomically written file is not synced",
    /file\.json may be found with half/,
    ["lib/files.ts", "    await file.sync();\n", ""],
  ],
  [
    "an atomically written file is renamed before it is synced",
    /file\.json may be found with half/,
    ["lib/files.ts", "    await file.sync();\n", ""],
    [
      "lib/files.ts",
      "  await syncDirectory(dirname(path));\n}",
      '  const again = await open(path, "r+");\n  await again.sync();\n  await again.close();\n  await syncDirectory(dirname(path));\n}',
    ],
  ],
  [
    "an atomically written file's name is not synced",
    /the name .*file\.json/,
    ["lib/files.ts", "  await syncDirectory(dirname(path));\n}", "}"],
  ],
  [
    "a new directory's name is not synced",
    /the name .*state/,
    ["lib/files.ts", "await syncDirectory(dirname(made));", "await Promise.resolve();"],
  ],
];

for (const [fault, found, ...edits] of PLANTED)
  test(`planted, and noticed: ${fault}`, () =>
    inScratch(async (scratch) => {
      const tree = join(scratch, "tree");
      for (const part of ["api", "lib", "control/store", "test/control/store", "package.json"])
        await cp(join(HERE, part), join(tree, part), { recursive: true });
      await symlink(join(HERE, "node_modules"), join(tree, "node_modules"));
      for (const [file, from, to] of edits) {
        const source = await readFile(join(tree, file), "utf8");
        assert.is(source.split(from).length, 2, `${file} holds ${JSON.stringify(from)} once`);
        await writeFile(join(tree, file), source.replace(from, to));
      }
      const lost = await losses(tree, scratch, true);
      assert.ok(
        lost.some((line) => found.test(line)),
        `${fault} was not noticed; found: ${lost.join("; ") || "nothing"}`,
      );
    }));

test.run();

import { mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { belonging, containerProcesses, ENVIRON_MOST_BYTES, markIn } from "../../../hostd/sessions/processes.ts";

const processes = [
  { pid: 10, session: 10, mark: "host-1.exec-a." },
  { pid: 11, session: 10 },
  { pid: 12, session: 12, mark: "host-1.exec-a." },
  { pid: 20, session: 20, mark: "host-1.exec-ab." },
  { pid: 40, session: 40, mark: "host-2.exec-a." },
];

test("what a command started is known by its session and by its mark, also when it left the session", () => {
  assert.equal(belonging(processes, { pid: 10, mark: "host-1.exec-a." }), [10, 11, 12]);
});

test("after a restart all of this host's commands are known by the host alone", () => {
  assert.equal(belonging(processes, { mark: "host-1." }), [10, 12, 20]);
});

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-proc-"));
  await body(directory).finally(() => rm(directory, { recursive: true, force: true }));
}

const MARKS: [claim: string, environ: string, mark: string | undefined][] = [
  ["a mark among other variables is found", "A=1\0FLYNN_EXEC=host-1.exec-a.\0B=2\0", "host-1.exec-a."],
  ["a mark that comes first is found", "FLYNN_EXEC=host-1.exec-a.\0", "host-1.exec-a."],
  ["a mark that nothing ends is found", "A=1\0FLYNN_EXEC=host-1.exec-a.", "host-1.exec-a."],
  ["a variable that only mentions the mark is none", "NOTE=FLYNN_EXEC=host-1.exec-a.\0", undefined],
  ["an empty environment has no mark", "", undefined],
  [
    "a mark on the border of two pieces is found",
    `A=${"x".repeat((16 << 10) - 10)}\0FLYNN_EXEC=host-1.exec-a.\0`,
    "host-1.exec-a.",
  ],
  [
    "a mark after more than is read is not looked for",
    `A=${"x".repeat(ENVIRON_MOST_BYTES)}\0FLYNN_EXEC=host-1.exec-a.\0`,
    undefined,
  ],
];

for (const [claim, environ, mark] of MARKS)
  test(claim, () =>
    withDirectory(async (directory) => {
      const file = join(directory, "environ");
      await writeFile(file, environ);
      assert.is(await markIn(file), mark);
    }),
  );

test("forty processes with an environment of 200 MiB each cost next to no memory, and hide no other", () =>
  withDirectory(async (proc) => {
    const add = async (pid: number, environ: string, sizeBytes?: number) => {
      const directory = join(proc, String(pid));
      await mkdir(directory);
      await writeFile(join(directory, "cgroup"), `0::/docker/${"ab".repeat(32)}\n`);
      await writeFile(join(directory, "stat"), `${pid} (a ) b) S 1 ${pid} ${pid} 0 -1\n`);
      await writeFile(join(directory, "environ"), environ);
      if (sizeBytes !== undefined) await truncate(join(directory, "environ"), sizeBytes);
    };
    await mkdir(join(proc, "self"));
    await writeFile(join(proc, "self/cgroup"), "0::/system.slice/hostd\n");
    for (let n = 0; n < 40; n++) await add(100 + n, "A=1\0", 200 << 20);
    await add(200, "A=1\0FLYNN_EXEC=host-1.exec-a.\0");
    const before = process.memoryUsage();
    const found = await containerProcesses({}, proc);
    const after = process.memoryUsage();
    assert.equal(belonging(found, { mark: "host-1." }), [200]);
    const grownBytes = after.heapUsed + after.external - before.heapUsed - before.external;
    assert.ok(grownBytes < 32 << 20, `grew by ${grownBytes >> 20} MiB`);
    assert.equal(
      await containerProcesses({ containerId: "cd".repeat(32) }, proc),
      [],
      "another container's are not looked at",
    );
  }));

test.run();

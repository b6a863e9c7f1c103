import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { inUse, memoryInUse, memoryPlace } from "../../hostd/memory.ts";
import { watchMemory } from "../../hostd/memory-loop.ts";
import { container, job } from "./jobs.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-memory-"));
test.after(() => rm(directory, { recursive: true, force: true }));
const places = { proc: join(directory, "proc"), cgroups: join(directory, "cgroup") };
async function put(files: Record<string, string>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), text);
  }
}

test("the line of a process that counts its memory is found in both kinds of cgroups", () => {
  assert.equal(memoryPlace("0::/system.slice/docker-ab.scope\n"), { v1: false, path: "/system.slice/docker-ab.scope" });
  const v1 = "9:name=systemd:/x\n4:cpu,memory:/docker/ab\n0::/\n";
  assert.equal(memoryPlace(v1), { v1: true, path: "/docker/ab" });
  assert.is(memoryPlace("9:name=systemd:/x\n"), undefined);
});

test("pages that the kernel would take back at once are not counted", () => {
  assert.is(inUse(1_000, "anon 5\ninactive_file 300\n"), 700);
  assert.is(inUse(1_000, "inactive_file 1\ntotal_inactive_file 400\n"), 600, "v1 counts children apart");
  assert.is(inUse(100, "inactive_file 300\n"), 0);
  assert.is(inUse(100, ""), 100);
  assert.is(inUse(Number.NaN, ""), undefined);
});

test("the memory of a container is read from its own cgroup, v1 and v2, and never from another's", async () => {
  await put({
    "proc/10/cgroup": "4:memory:/docker/abc\n0::/\n",
    "cgroup/memory/docker/abc/memory.usage_in_bytes": "2000\n",
    "cgroup/memory/docker/abc/memory.stat": "total_inactive_file 500\n",
    "proc/11/cgroup": "0::/docker/def\n",
    "cgroup/docker/def/memory.current": "3000\n",
    "cgroup/docker/def/memory.stat": "inactive_file 1000\n",
  });
  assert.is(await memoryInUse({ id: "abc", pid: 10 }, places), 1_500);
  assert.is(await memoryInUse({ id: "def", pid: 11 }, places), 2_000);
  assert.is(await memoryInUse({ id: "gone", pid: 11 }, places), undefined, "its number is another's now");
  assert.is(await memoryInUse({ id: "gone", pid: 12 }, places), undefined);
  assert.is(await memoryInUse({ id: "fake" }, places), undefined);
});

test("what runs is watched, what has ended is forgotten, and a failed look is told once", async () => {
  const ended = new AbortController();
  let running = [container(job(), { pid: 10 })];
  let failures = 0;
  const watch = watchMemory({
    running: () => running,
    read: async ({ pid }) => {
      if (pid === 13) {
        failures++;
        throw new Error("no such luck");
      }
      return pid;
    },
    everyMs: 2,
    log: silentLog(),
  });
  const run = watch.run(ended.signal);
  const happens = (what: string, probe: () => boolean) => until(probe, { what, timeoutMs: 10_000, everyMs: 1 });
  await happens("a first look", () => watch.of("j1") === 10);
  running = [container(job(), { pid: 13 })];
  await happens("looks that fail", () => failures > 1);
  assert.is(watch.of("j1"), 10, "the last that is known");
  running = [];
  await happens("it is forgotten", () => watch.of("j1") === undefined);
  ended.abort();
  await run;
});

test.run();

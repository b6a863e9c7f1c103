import { spawn } from "node:child_process";
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { until } from "#lib/time.ts";
import { inRoot } from "./inside.ts";

const INSIDE = fileURLToPath(new URL("inside.ts", import.meta.url));
/** The program in the root: a script of this file. */
const WORK = "work";
const inside = suite<{ root: string; mark: string }>("inside");

/** The smallest root: busybox, and a program that says in a file where it is and how it ends. */
inside.before(async (context) => {
  const root = await mkdtemp(join(tmpdir(), "flynn-inside-"));
  const mark = root.split("-").at(-1)!;
  Object.assign(context, { root, mark });
  for (const name of ["bin", "proc", "sys", "dev", "run", "root/flynn"])
    await mkdir(join(root, name), { recursive: true });
  await copyFile("/bin/busybox", join(root, "bin/busybox"));
  for (const name of ["sh", "mount", "umount", "rmdir", "sleep", "ls"])
    await symlink("busybox", join(root, "bin", name));
  await writeFile(
    join(root, "bin/work"),
    `#!/bin/sh\ntrap 'echo ended >> /said; exit 7' TERM\nsh -c 'sleep 299 &' &\nls / > /said\necho up >> /said\nsleep 299 &\nwait $!\n`,
  );
  await chmod(join(root, "bin/work"), 0o755);
});

inside.before.each(({ root }) => rm(join(root, "said"), { force: true }));
inside.after(({ root }) => rm(root, { recursive: true, force: true }));

const said = (root: string) => readFile(join(root, "said"), "utf8").catch(() => "");
const isUp = (root: string) =>
  until(async () => /^up$/m.test(await said(root)), { what: "its start", timeoutMs: 20_000 });

/** Processes whose root is the folder, and mounts of this machine below it. */
async function leftOf(root: string): Promise<string[]> {
  const mounts = (await readFile("/proc/self/mounts", "utf8")).split("\n").filter((line) => line.includes(root));
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const commands = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")));
  return [...mounts, ...commands.filter((line) => line.includes(`${root}\0`))];
}

inside("a program sees the root and nothing of this machine's files, and its exit code is told", async ({ root }) => {
  const stopped = new AbortController();
  const code = inRoot(root, [WORK], stopped.signal);
  await isUp(root);
  const seen = (await said(root)).split("\n");
  for (const name of ["bin", "proc", "root"]) assert.ok(seen.includes(name), seen.join(" "));
  for (const name of ["home", "usr", ".outside"]) assert.not.ok(seen.includes(name), name);
  stopped.abort();
  assert.is(await code, 7);
  assert.match(await said(root), /^ended$/m, "it heard SIGTERM first");
  assert.equal(await leftOf(root), []);
});

inside("when this process is killed outright nothing of it runs on, and nothing stays mounted", async ({ root }) => {
  const script = `import { inRoot } from ${JSON.stringify(INSIDE)}; await inRoot(${JSON.stringify(root)}, ${JSON.stringify([WORK])}, new AbortController().signal);`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], { stdio: "ignore" });
  await isUp(root);
  child.kill("SIGKILL");
  await until(async () => (await leftOf(root)).length === 0, { what: "the end of all in the root", timeoutMs: 10_000 });
});

inside.run();

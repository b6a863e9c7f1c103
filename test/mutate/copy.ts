// A copy of the tree to break, and runs of its tests where a broken program harms nobody: own network with loopback only, own
// processes, and a file system that is read-only but for the copy and an empty /tmp.
import { type ChildProcess, spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { exec } from "#lib/exec.ts";
import { type FileResult, runFile } from "../runner.ts";

export interface Copy {
  root: string;
  write(path: string, text: string): Promise<void>;
  /** Until its end or its first failed test. */
  run(test: string, options: { limitMs: number; signal: AbortSignal }): Promise<FileResult>;
  /** The process of the first pass, which answers on its channel; it ends with this one. */
  start(): ChildProcess;
  remove(): Promise<void>;
}

const [INSIDE, FIRST_FAILURE, ONE_PROCESS] = ["inside.ts", "first-failure.ts", "one-process.ts"].map((each) =>
  join(import.meta.dirname, each),
) as [string, string, string];
/** Not in /tmp, which the tests get an empty one of. */
const FOLDER = "/var/tmp/flynn-mutate-";

export async function copyOf(tree: string): Promise<Copy> {
  const root = await mkdtemp(FOLDER);
  const compiledIn = join(root, ".compiled");
  const { stdout } = await exec(["git", "-C", tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
  for (const path of stdout.split("\0").filter(Boolean)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await cp(join(tree, path), join(root, path), { verbatimSymlinks: true }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error; // deleted and not yet committed
    });
  }
  await symlink(join(tree, "node_modules"), join(root, "node_modules"));
  return {
    root,
    write: (path, text) => writeFile(join(root, path), text),
    run: (test, { limitMs, signal }) =>
      runFile(
        { path: test, isLab: false, limitMs, sizeBytes: 0 },
        { root, signal, graceMs: 500, compiledIn, within: UNSHARE, imports: [INSIDE, FIRST_FAILURE] },
      ),
    start: () =>
      spawn("setpriv", ["--pdeathsig", "KILL", "--", ...UNSHARE, process.execPath, "--import", INSIDE, ONE_PROCESS], {
        cwd: root,
        env: { ...process.env, NO_COLOR: "1", AWS_EC2_METADATA_DISABLED: "true" },
        detached: true,
        stdio: ["ignore", "ignore", "ignore", "ipc"],
      }),
    remove: () => rm(root, { recursive: true, force: true, maxRetries: 3 }),
  };
}

const UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];

// A copy of the tree to break, and runs of its tests where a broken program harms nobody: own network with loopback only, own
// processes, and a file system that is read-only but for the copy and an empty /tmp.
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { exec } from "#lib/exec.ts";
import { type FileResult, runFile } from "../runner.ts";

export interface Copy {
  root: string;
  write(path: string, text: string): Promise<void>;
  /** Until its end or its first failed test. */
  run(test: string, options: { limitMs: number; signal: AbortSignal }): Promise<FileResult>;
  remove(): Promise<void>;
}

const LOADED = ["inside.ts", "first-failure.ts"].map((each) => join(import.meta.dirname, each));
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
        { root, signal, graceMs: 500, compiledIn, within: UNSHARE, imports: LOADED },
      ),
    remove: () => rm(root, { recursive: true, force: true, maxRetries: 3 }),
  };
}

const UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];

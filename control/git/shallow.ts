// A push from a clone of some depth. git can take one only by writing down the ends of its history in the same act that moves the ref;
// here it is control that moves it. So each push has a file of ends of its own (GIT_SHALLOW_FILE), by which git checks what comes in,
// and they are the repository's once the push is decided.
import { copyFile, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "#api/fault.ts";
import { writeFileAtomic } from "#lib/files.ts";
import { joined } from "#lib/time.ts";
import { PUSH_ENDS, type Repositories } from "./repositories.ts";

export interface HistoryEnds {
  env: NodeJS.ProcessEnv;
  /** What the client says its history ends with; to be known before git reads its pack. */
  add(commits: readonly string[], signal: AbortSignal): Promise<void>;
  /** Some are new: the repository's are to be written. */
  readonly grows: boolean;
  /** Makes them the repository's. */
  keep(): Promise<void>;
  drop(): Promise<void>;
}

/** For all that a push says its history ends with. */
const LOOK_MS = 60_000;

export async function historyEnds(
  { git }: Pick<Repositories, "git">,
  repository: string,
  name: string,
): Promise<HistoryEnds> {
  const file = join(repository, `${PUSH_ENDS}${name}`);
  const own = join(repository, "shallow");
  await copyFile(own, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error; // a whole history has no such file
  });
  const write = async (path: string, more: readonly string[]): Promise<void> => {
    const known = (await readFile(own, "utf8").catch(() => "")).split("\n").filter(Boolean);
    await writeFileAtomic(path, [...new Set([...known, ...more])].map((commit) => `${commit}\n`).join(""));
  };
  let added: string[] = [];

  /** Those that are in the repository. */
  const existing = async (commits: readonly string[], signal?: AbortSignal): Promise<string[]> => {
    const input = commits.map((commit) => `${commit}\n`).join("");
    const options = { input, timeoutMs: LOOK_MS, ...(signal ? { signal } : {}) };
    const { stdout } = await git(repository, ["cat-file", "--batch-check=%(objectname) %(objecttype)"], options);
    const found = new Set(stdout.split("\n"));
    return commits.filter((commit) => found.has(`${commit} commit`));
  };
  /** Those that some ref leads to: their history is as whole as it is going to be. One walk for all of them, no longer than it takes. */
  const reached = async (commits: readonly string[], signal: AbortSignal): Promise<Set<string>> => {
    const wanted = new Set(await existing(commits, signal));
    const found = new Set<string>();
    if (wanted.size === 0) return found;
    const all = new AbortController();
    let rest = "";
    const onOutput = (chunk: Buffer, stream: "stdout" | "stderr") => {
      if (stream !== "stdout") return;
      const lines = (rest + chunk.toString("latin1")).split("\n");
      rest = lines.pop()!;
      for (const line of lines) if (wanted.has(line)) found.add(line);
      if (found.size === wanted.size) all.abort();
    };
    const both = joined(signal, all.signal);
    try {
      await git(repository, ["rev-list", "--all"], {
        ...{ timeoutMs: LOOK_MS, signal: both.signal, maxOutputBytes: 4_096, onOutput },
      });
    } catch (cause) {
      signal.throwIfAborted();
      if (!all.signal.aborted)
        throw new Fault(
          "unavailable",
          "where this clone's history ends could not be looked up in the app's repository: git fetch --unshallow, then push again",
          { cause },
        );
    } finally {
      both.release();
    }
    return found;
  };
  return {
    env: { GIT_SHALLOW_FILE: file },
    get grows() {
      return added.length > 0;
    },
    async add(commits, signal) {
      const known = await reached(commits, signal);
      signal.throwIfAborted();
      added.push(...commits.filter((commit) => !known.has(commit)));
      if (added.length > 0) await write(file, added);
    },
    async keep() {
      const there = await existing(added);
      added = [];
      if (there.length > 0) await write(own, there);
    },
    drop: () => rm(file, { force: true }),
  };
}

// A commit's tree as control builds it: looked through first, then as a tar archive. Objects of a push that is not admitted yet
// are in its quarantine (git-receive-pack(1)), which git is told of.
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { Fault } from "#api/fault.ts";
import { deadline } from "#lib/time.ts";
import { LIMITS } from "./limits.ts";
import { type GitChild, quarantineEnv, type Repositories } from "./repositories.ts";

export interface Tree {
  repositories: Repositories;
  repository: string;
  commit: string;
  /** Directory of objects that are not in the repository yet. */
  quarantine?: string | undefined;
  signal: AbortSignal;
}

const TREE_MS = 60_000;

/** Fault `invalid` or `too-large`, in the pusher's words, for a tree that cannot be built: submodules, no files, too many. */
export async function checkTree(tree: Tree): Promise<void> {
  const child = start(tree, ["ls-tree", "-r", "-z", "--full-tree", "--format=%(objectmode) %(path)", tree.commit]);
  const look = async (): Promise<{ files: number; submodules: string[] }> => {
    let files = 0;
    let rest = "";
    const submodules: string[] = [];
    for await (const chunk of child.stdout.setEncoding("utf8")) {
      const entries = (rest + String(chunk)).split("\0");
      rest = entries.pop()!;
      files += entries.length;
      if (files > LIMITS.files)
        throw new Fault("too-large", `the commit has more than ${LIMITS.files} files, which is the most that is built`);
      for (const entry of entries)
        if (entry.startsWith("160000 ") && submodules.length < 5) submodules.push(entry.slice(7));
    }
    await ended(child, "look through the commit");
    return { files, submodules };
  };
  try {
    const { files, submodules } = await deadline(look(), TREE_MS, "looking through the commit");
    if (submodules.length > 0)
      throw new Fault(
        "invalid",
        `submodules are not fetched: ${submodules.map(plain).join(", ")}. Add their files to this repository (git subtree add), or name them as a dependency`,
      );
    if (files === 0) throw new Fault("invalid", "the commit has no files");
  } finally {
    child.kill("SIGKILL");
  }
}

/** The tree as a tar archive. Ends with an error, never early, when git fails. */
export function archiveOf(tree: Tree): Readable {
  async function* bytes(): AsyncGenerator<Buffer> {
    // Started by whoever reads: Node throws away what a child wrote that ended before anybody listened.
    const child = start(tree, ["archive", "--format=tar", tree.commit]);
    try {
      yield* child.stdout as AsyncIterable<Buffer>;
      await ended(child, "archive the commit");
    } finally {
      child.kill("SIGKILL");
    }
  }
  return Readable.from(bytes(), { objectMode: false });
}

function start({ repositories, repository, signal, ...rest }: Tree, args: string[]): GitChild {
  const child = repositories.spawn([`--git-dir=${repository}`, ...args], quarantineEnv({ repository, ...rest }));
  const stop = () => child.kill("SIGKILL");
  signal.addEventListener("abort", stop, { once: true });
  child.once("close", () => signal.removeEventListener("abort", stop));
  child.on("error", () => undefined); // told by its missing exit code, below
  child.stdin.on("error", () => undefined).end();
  createInterface({ input: child.stderr }).on("line", (line) => {
    said.set(child, line.slice(0, 300));
  });
  return child;
}
const said = new WeakMap<GitChild, string>();

async function ended(child: GitChild, doing: string): Promise<void> {
  if (child.exitCode === null && child.signalCode === null && child.pid !== undefined)
    await new Promise((resolve) => child.once("close", resolve));
  if (child.exitCode !== 0)
    throw new Fault("internal", `${doing}: git ${said.get(child) ?? `ended by ${child.signalCode}`}`);
}

/** A path of the pusher's, without what moves a terminal's cursor. */
const plain = (path: string): string => path.replace(/[\u0000-\u001f\u007f-\u009f]/g, "?").slice(0, 100);

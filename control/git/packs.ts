// The packs that one push brings: known while they are in its quarantine, taken away again when the push is refused after git has
// moved them into the repository and no ref leads to them, so that refused pushes fill nothing.
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { ExecError } from "#lib/exec.ts";
import { quarantineEnv, type Repositories } from "./repositories.ts";
import type { Tree } from "./source.ts";

/** Files of the quarantine's packs that the repository has none of that name yet. */
export async function newPacks(repository: string, quarantine: string | undefined): Promise<string[]> {
  if (quarantine === undefined) return [];
  const [brought, there] = await Promise.all([packsIn(quarantine), packsIn(join(repository, "objects"))]);
  return brought.filter((name) => !there.includes(name));
}

export async function removePacks(repository: string, names: readonly string[]): Promise<void> {
  // The index first: a pack without one is none to git.
  for (const name of [...names].sort((a, b) => Number(b.endsWith(".idx")) - Number(a.endsWith(".idx"))))
    await rm(join(repository, "objects", "pack", name), { force: true });
}

/** No ref leads to the commit; undefined when that cannot be known: a ref or an object cannot be read, or git takes too long. */
export async function isUnreached(
  { git }: Pick<Repositories, "git">,
  repository: string,
  commit: string,
): Promise<boolean | undefined> {
  try {
    const { stdout, stderr } = await git(repository, [
      ...["for-each-ref", "--count=1", "--format=%(refname)"],
      ...["--contains", commit],
    ]);
    return stderr === "" ? stdout === "" : undefined; // git passes over a broken ref with a warning
  } catch (error) {
    if (error instanceof ExecError) return undefined;
    throw error;
  }
}

/** All that the commit leads to is there, as git sees it with `env`. */
export async function isWhole({ repositories, repository, quarantine, commit, env, signal }: Whole): Promise<boolean> {
  try {
    await repositories.git(repository, ["rev-list", "--objects", "--quiet", commit, "--not", "--all"], {
      env: { ...env, ...quarantineEnv({ repository, quarantine }) },
      signal,
    });
    return true;
  } catch (error) {
    if (error instanceof ExecError && error.exitCode !== undefined) return false;
    throw error;
  }
}

interface Whole extends Pick<Tree, "repositories" | "repository" | "quarantine" | "commit" | "signal"> {
  env: NodeJS.ProcessEnv | undefined;
}

const packsIn = (objects: string): Promise<string[]> =>
  readdir(join(objects, "pack")).then(
    (names) => names.filter((name) => /^pack-[0-9a-f]{40,64}\.[a-z]+$/.test(name)),
    () => [],
  );

// Where the app's files are while a buildpack works on them. Ours build in /app, where the app will run. Others get a folder
// of their own, as the contract has it: they may replace it whole, and what they leave at HOME, which is /app, is for the
// build alone. Each place leads to the other meanwhile, so that a path that an earlier buildpack exported still holds.
import { lstat, mkdir, readdir, readlink, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { BuildFailure } from "./failure.ts";
import type { Pack } from "./pack.ts";
import type { Places } from "./places.ts";

export interface AppTree {
  /** Where the files are now. */
  directory(): string;
  /** Brings them to where this buildpack gets them. */
  enter(pack: Pack): Promise<string>;
  /** Brings them back to /app, and takes away what others left there. */
  settle(): Promise<void>;
}

export function appTree(
  { app: home, temporary }: Pick<Places, "app" | "temporary">,
  options: { path: string; signal: AbortSignal },
): AppTree {
  const apart = join(temporary, "app");
  let last: Pack | undefined;
  let away = false;
  let builtAtHome = false;
  /** Names in HOME that are none of the app's. */
  const foreign = new Set<string>();

  const leave = async (): Promise<void> => {
    await rm(apart, { force: true }); // the link of an earlier return
    await mkdir(apart);
    away = true;
    for (const name of await readdir(home)) {
      if (foreign.has(name)) continue;
      await move(join(home, name), join(apart, name), options);
      if (builtAtHome) await symlink(join(apart, name), join(home, name));
    }
  };
  const comeBack = async (): Promise<void> => {
    if (!(await lstat(apart).catch(() => undefined))?.isDirectory())
      throw new BuildFailure(`${last?.shown} took the app's folder away`);
    const names = new Set(await readdir(apart));
    for (const name of await readdir(home)) {
      const isOurs = (await readlink(join(home, name)).catch(() => undefined)) === join(apart, name);
      if (isOurs || names.has(name)) await rm(join(home, name), { recursive: true, force: true });
      else foreign.add(name);
    }
    for (const name of names) {
      await move(join(apart, name), join(home, name), options);
      foreign.delete(name);
    }
    await rm(apart, { recursive: true });
    await symlink(home, apart);
    away = false;
  };
  return {
    directory: () => (away ? apart : home),
    async enter(pack) {
      if (pack.foreign && !away) await leave();
      if (!pack.foreign && away) await comeBack();
      if (!pack.foreign) builtAtHome = true;
      last = pack;
      return away ? apart : home;
    },
    async settle() {
      if (away) await comeBack();
      for (const name of foreign) await rm(join(home, name), { recursive: true, force: true });
    },
  };
}

async function move(from: string, to: string, { path, signal }: { path: string; signal: AbortSignal }): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
    const env = { PATH: path, LANG: "C.UTF-8" };
    await exec(["cp", "--archive", "--no-target-directory", "--", from, to], { env, signal, timeoutMs: 600_000 });
    await rm(from, { recursive: true, force: true });
  }
}

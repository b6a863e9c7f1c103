// Where builds lie on control's disk: one directory each, with the source, what was found in it, the log and what its host sent.
import { readdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import type { SourceFacts } from "./facts.ts";

export interface BuildFiles {
  /** Of one build. */
  directory(appId: string, id: string): string;
  /** Where a source is taken in. */
  incoming(id: string): string;
  /** From here to the call of what it returns no sweep touches anything of this build, which is on no record yet. */
  takingIn(id: string): () => void;
  source(appId: string, id: string): string;
  slug(appId: string, id: string): string;
  facts(appId: string, id: string): Promise<SourceFacts | undefined>;
  /** Process types that the build found, as its host told them. */
  found(appId: string, id: string): Promise<Record<string, string>>;
  keepFound(appId: string, id: string, processes: Record<string, string>): Promise<void>;
  /** Once it has ended: the log stays. */
  dropSource(appId: string, id: string): Promise<void>;
  /** Removes the directories of builds that are not known any more; `all`: and what was being taken in. */
  sweep(isKnown: (appId: string, id: string) => boolean, all: boolean): Promise<void>;
}

export const FACTS_FILE = "facts.json";
export const SOURCE_FILE = "source.tar";
const INCOMING = "incoming";

export function buildFiles(stateDir: string): BuildFiles {
  const root = join(stateDir, "builds");
  const directory = (appId: string, id: string) => join(root, appId, id);
  const found = (appId: string, id: string) => join(directory(appId, id), "processes.json");
  const taking = new Set<string>();
  const incoming = (id: string) => join(root, INCOMING, id);
  return {
    directory,
    incoming,
    takingIn(id) {
      taking.add(id);
      return () => void taking.delete(id);
    },
    source: (appId, id) => join(directory(appId, id), SOURCE_FILE),
    slug: (appId, id) => join(directory(appId, id), "slug.tar.gz"),
    facts: (appId, id) => readJson<SourceFacts>(join(directory(appId, id), FACTS_FILE)),
    found: async (appId, id) => (await readJson<Record<string, string>>(found(appId, id))) ?? {},
    keepFound: (appId, id, processes) => writeFileAtomic(found(appId, id), JSON.stringify(processes), { mode: 0o600 }),
    async dropSource(appId, id) {
      const names = await readdir(directory(appId, id)).catch(() => []);
      for (const name of names.filter((one) => one !== "log" && one !== "log.marks"))
        await rm(join(directory(appId, id), name), { recursive: true, force: true });
    },
    async sweep(isKnown, all) {
      const list = (path: string) => readdir(path).catch(() => [] as string[]);
      const remove = (path: string) => rm(path, { recursive: true, force: true });
      if (all) for (const id of await list(join(root, INCOMING))) if (!taking.has(id)) await remove(incoming(id));
      for (const name of await list(root)) {
        if (name !== INCOMING)
          for (const id of await list(join(root, name)))
            if (!taking.has(id) && !isKnown(name, id)) await remove(directory(name, id));
        if (taking.size > 0) continue; // one of them may be about to move there
        await rmdir(join(root, name)).catch((error: NodeJS.ErrnoException) => {
          if (error.code !== "ENOTEMPTY" && error.code !== "ENOENT") throw error;
        });
      }
    },
  };
}

// Where builds lie on control's disk: one directory each, with the source, what was found in it, the log and what its host sent.
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import type { SourceFacts } from "./facts.ts";

export interface BuildFiles {
  /** Of one build. */
  directory(appId: string, id: string): string;
  /** Where a source is taken in. */
  incoming(id: string): string;
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
  return {
    directory,
    incoming: (id) => join(root, INCOMING, id),
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
      if (all) await rm(join(root, INCOMING), { recursive: true, force: true });
      for (const appId of await readdir(root).catch(() => [])) {
        if (appId === INCOMING) continue;
        const ids = await readdir(join(root, appId)).catch(() => []);
        const gone = ids.filter((id) => !isKnown(appId, id));
        for (const id of gone) await rm(directory(appId, id), { recursive: true, force: true });
        if (gone.length === ids.length) await rm(join(root, appId), { recursive: true, force: true });
      }
    },
  };
}

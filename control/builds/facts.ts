// What a source tree says about how it wants to be built and run, and what in it cannot work: found while it is scanned.
import { Fault } from "#api/fault.ts";
import type { EntryKind } from "./source-tree.ts";

/** Files whose text is kept while scanning, with the most bytes each may have. */
export const READ_FILES: Readonly<Record<string, number>> = {
  Procfile: 64 * 1024,
  "app.json": 64 * 1024,
  "project.toml": 64 * 1024,
  ".buildpacks": 16 * 1024,
  ".gitmodules": 64 * 1024,
};

export interface SourceFacts {
  /** Text of the files of READ_FILES that are there. */
  texts: Partial<Record<string, string>>;
  /** The Dockerfile of the settings, or `Dockerfile`, is there. */
  dockerfile: boolean;
  entries: number;
  /** What was done to the archive, in words for the log. */
  notes: string[];
}

export interface Scanned {
  texts: Record<string, string>;
  kindOf: (path: string) => EntryKind | undefined;
  paths: () => Iterable<string>;
  lfsPointers: readonly string[];
  entries: number;
  notes: string[];
}

const LFS = /^version https:\/\/git-lfs\.github\.com\/spec\/v\d+\r?\n/;
export const LFS_POINTER_MOST_BYTES = 1_024;
export const isLfsPointer = (text: string): boolean => LFS.test(text) && /^oid sha256:[0-9a-f]{64}/m.test(text);

/** Faults `invalid` in the user's words for what git left behind. */
export function sourceFacts(
  scanned: Scanned,
  { dockerfile = "Dockerfile" }: { dockerfile?: string } = {},
): SourceFacts {
  const { texts, kindOf, lfsPointers, entries, notes } = scanned;
  if (entries === 0) throw new Fault("invalid", "the source is empty: there is nothing to build");
  const [pointer] = lfsPointers;
  if (pointer !== undefined)
    throw new Fault(
      "invalid",
      `${pointer}${lfsPointers.length > 1 ? ` and ${lfsPointers.length - 1} more files are` : " is"} only a Git LFS pointer: a push does not carry what LFS keeps elsewhere. Deploy the working tree instead (\`git lfs pull\`, then \`flynn deploy .\`), or keep the file in git itself (\`git lfs migrate export\`)`,
    );
  const submodule = emptySubmodule(texts[".gitmodules"], scanned.paths);
  if (submodule !== undefined)
    throw new Fault(
      "invalid",
      `${submodule} is a git submodule, and a push does not carry its files. Deploy the working tree instead (\`git submodule update --init\`, then \`flynn deploy .\`), or add the files to the repository (git subtree)`,
    );
  return { texts, dockerfile: kindOf(dockerfile) === "file" || kindOf(dockerfile) === "link", entries, notes };
}

/** Of a line `path = x` (gitmodules(5)). */
function submodulePath(line: string): string | undefined {
  const at = line.indexOf("=");
  if (at < 0 || line.slice(0, at).trim() !== "path") return undefined;
  const path = line.slice(at + 1).trim();
  let end = path.length;
  while (path[end - 1] === "/") end--;
  return path === "" ? undefined : path.slice(0, end);
}

/** Path of the first submodule that no file of the tree lies in. */
export function emptySubmodule(gitmodules: string | undefined, paths: () => Iterable<string>): string | undefined {
  if (gitmodules === undefined) return undefined;
  const wanted = new Set(gitmodules.split("\n").flatMap((line) => submodulePath(line) ?? []));
  if (wanted.size === 0) return undefined;
  for (const path of paths()) {
    for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) wanted.delete(path.slice(0, at));
    if (wanted.size === 0) return undefined;
  }
  const [first] = wanted;
  return first?.slice(0, 200);
}

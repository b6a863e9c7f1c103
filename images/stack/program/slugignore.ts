// .slugignore: what is in the repository and not wanted in the app. Lines as in .gitignore (gitignore(5)) without its `!`.
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { gitignore } from "#lib/gitignore.ts";

export interface SlugIgnore {
  ignores(path: string, isDirectory: boolean): boolean;
  warnings: string[];
  /** Patterns that nothing was ignored for so far, in their order. */
  unused(): string[];
}

const PATTERNS_MOST = 500;

export function parseSlugIgnore(text: string): SlugIgnore {
  const warnings: string[] = [];
  const rules: { line: string; names: (path: string, isFolder: boolean) => boolean; used: boolean }[] = [];
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\n|\r/);
  for (const [at, line] of lines.entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    if (line.startsWith("!")) {
      warnings.push(`.slugignore, line ${at + 1}: nothing can be taken back in with !; the line is passed over`);
      continue;
    }
    if (rules.length === PATTERNS_MOST) {
      warnings.push(`.slugignore: only the first ${PATTERNS_MOST} lines are read`);
      break;
    }
    rules.push({ line, names: gitignore([line]), used: false });
  }
  return {
    warnings,
    ignores(path, isDirectory) {
      const rule = rules.find(({ names }) => names(path, isDirectory));
      if (rule) rule.used = true;
      return rule !== undefined;
    },
    unused: () => rules.filter(({ used }) => !used).map(({ line }) => line),
  };
}

/** Removes what is ignored below `directory`; links are removed, never followed. Returns how many entries went. */
export async function applySlugIgnore(directory: string, rules: SlugIgnore): Promise<number> {
  let removed = 0;
  const walk = async (folder: string): Promise<void> => {
    for (const entry of await readdir(join(directory, folder), { withFileTypes: true })) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (rules.ignores(path, entry.isDirectory())) {
        await rm(join(directory, path), { recursive: true, force: true });
        removed++;
      } else if (entry.isDirectory()) await walk(path);
    }
  };
  await walk("");
  return removed;
}

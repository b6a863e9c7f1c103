// .slugignore: what is in the repository and not wanted in the app. Lines as in .gitignore without its `!`; a line with a
// slash inside is meant from the root, one without is meant at any depth.
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";

export interface SlugIgnore {
  ignores(path: string, isDirectory: boolean): boolean;
  warnings: string[];
}

const PATTERNS_MOST = 500;

export function parseSlugIgnore(text: string): SlugIgnore {
  const warnings: string[] = [];
  const rules: { matches: RegExp; onlyDirectories: boolean }[] = [];
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\n|\r/);
  for (const [at, raw] of lines.entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    if (line.startsWith("!")) {
      warnings.push(`.slugignore, line ${at + 1}: nothing can be taken back in with !; the line is passed over`);
      continue;
    }
    if (rules.length === PATTERNS_MOST) {
      warnings.push(`.slugignore: only the first ${PATTERNS_MOST} lines are read`);
      break;
    }
    const onlyDirectories = line.endsWith("/");
    const bare = line.replace(/\/+$/, "");
    if (bare === "") continue;
    rules.push({ matches: toRegExp(bare), onlyDirectories });
  }
  const ignores = (path: string, isDirectory: boolean) =>
    rules.some(({ matches, onlyDirectories }) => (isDirectory || !onlyDirectories) && matches.test(path));
  return { ignores, warnings };
}

function toRegExp(pattern: string): RegExp {
  const anchored = pattern.replace(/^\/+/, "").includes("/") || pattern.startsWith("/");
  const body = pattern
    .replace(/^\/+/, "")
    .replace(/\*{3,}/g, "**")
    .split(/(\*\*\/|\*\*|\*|\?)/)
    .map((part) => {
      if (part === "**/") return "(?:.*/)?";
      if (part === "**") return ".*";
      if (part === "*") return "[^/]*";
      if (part === "?") return "[^/]";
      return part.replace(/[.+^${}()|[\]\\*?]/g, "\\$&");
    })
    .join("");
  return new RegExp(`${anchored ? "^" : "(?:^|/)"}${body}$`);
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

// Which Debian archives this machine itself installs from, so that the image comes from the same ones and no host name
// stands in the recipe. Reads both forms of sources.list(5); keeps only lines of the recipe's suite.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { readText } from "#lib/files.ts";

export interface AptSource {
  uri: string;
  suite: string;
  signedBy?: string;
}

/** One-line sources for mmdebstrap, in order, without doubles. */
export async function debianSources(options: {
  suite: string;
  components: readonly string[];
  directory?: string;
}): Promise<string[]> {
  const { suite, components, directory = "/etc/apt" } = options;
  const parts = await readdir(join(directory, "sources.list.d")).catch(() => [] as string[]);
  const files = [
    join(directory, "sources.list"),
    ...parts.sort().map((name) => join(directory, "sources.list.d", name)),
  ];
  const found: AptSource[] = [];
  for (const file of files) {
    const text = await readText(file);
    if (text === undefined) continue;
    if (file.endsWith(".sources")) found.push(...parseDeb822(text));
    else if (file.endsWith(".list")) found.push(...parseOneLine(text));
  }
  const lines = sourceLines(found, { suite, components });
  if (lines.length === 0) {
    throw new Error(
      `no apt source for Debian ${suite} in ${directory}: the image is made from the archives this machine uses`,
    );
  }
  return lines;
}

export function sourceLines(
  found: readonly AptSource[],
  options: { suite: string; components: readonly string[] },
): string[] {
  const { suite, components } = options;
  const wanted = new Set([suite, `${suite}-updates`, `${suite}-security`, `${suite}/updates`]);
  const lines = found
    .filter((source) => wanted.has(source.suite))
    .map(({ uri, suite: name, signedBy }) => {
      return `deb ${signedBy === undefined ? "" : `[signed-by=${signedBy}] `}${uri.replace(/\/$/, "")} ${name} ${components.join(" ")}`;
    });
  return [...new Set(lines)];
}

export function parseOneLine(text: string): AptSource[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)(?:\s|$)/.exec(line);
    if (!match) return [];
    return [{ uri: match[2]!, suite: match[3]!, signedBy: /signed-by=(\S+)/.exec(match[1] ?? "")?.[1] }];
  });
}

export function parseDeb822(text: string): AptSource[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const fields = new Map<string, string>();
    let last = "";
    for (const line of stanza.split("\n").filter((each) => !each.startsWith("#"))) {
      const match = /^([A-Za-z-]+):\s*(.*)$/.exec(line);
      if (match) last = match[1]!.toLowerCase();
      if (match) fields.set(last, match[2]!.trim());
      else if (last !== "") fields.set(last, `${fields.get(last)}\n${line.trim()}`.trim());
    }
    const words = (name: string) => (fields.get(name) ?? "").split(/\s+/).filter((word) => word !== "");
    if (!words("types").includes("deb") || fields.get("enabled")?.toLowerCase() === "no") return [];
    // An inline key block cannot be said on one line; mmdebstrap then uses the keyring that belongs to the suite.
    const signedBy = words("signed-by").length === 1 ? words("signed-by")[0] : undefined;
    return words("uris").flatMap((uri) => words("suites").map((suite) => ({ uri, suite, signedBy })));
  });
}

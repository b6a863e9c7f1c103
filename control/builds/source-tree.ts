// The rules for what a source archive may hold. Every entry of it passes here before anything is written: a name inside the
// tree, of a kind a source tree has, under real directories only, so that no tar program on any host can be led out of it.
import { Fault } from "#api/fault.ts";

/** An entry as tar-stream gives it. */
export interface RawEntry {
  name: string;
  type?: string | null | undefined;
  mode?: number | undefined;
  size?: number | undefined;
  linkname?: string | null | undefined;
  pax?: Record<string, string> | null;
}

export type EntryKind = "file" | "directory" | "symlink" | "link";

/** An entry as it goes into the tree: its path has no `.`, `..`, empty part or trailing slash. */
export interface TreeEntry {
  path: string;
  kind: EntryKind;
  mode: number;
  sizeBytes: number;
  /** Target of a symlink as written; of a hard link its path in the tree. */
  target?: string;
}

export interface SourceTree {
  /** The entry as it is kept; undefined when it is left out (`.git`, the root itself). Fault `invalid` names what is wrong. */
  admit(raw: RawEntry): TreeEntry | undefined;
  kindOf(path: string): EntryKind | undefined;
  paths(): IterableIterator<string>;
  /** True when every name began with `./`: the archive's root is the tree's root. */
  readonly rooted: boolean;
  readonly leftOut: ReadonlySet<string>;
}

const PATH_MOST_BYTES = 4_000;
const PART_MOST_BYTES = 255;
const DEPTH_MOST = 100;
const KINDS: Record<string, EntryKind> = {
  file: "file",
  "contiguous-file": "file",
  directory: "directory",
  symlink: "symlink",
  link: "link",
};
const OTHER_KINDS: ReadonlyMap<unknown, string> = new Map([
  ["character-device", "a device node"],
  ["block-device", "a device node"],
  ["fifo", "a named pipe"],
]);

export function sourceTree(): SourceTree {
  const kinds = new Map<string, EntryKind>();
  const leftOut = new Set<string>();
  let rooted = true;

  /** Every directory above it, made where it was not named; a link or a file there is no directory. */
  const enter = (path: string): void => {
    for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) {
      const above = path.slice(0, at);
      const kind = kinds.get(above);
      if (kind === undefined) kinds.set(above, "directory");
      else if (kind !== "directory") refuse(path, `lies under ${quoted(above)}, which is no directory`);
    }
  };

  return {
    kindOf: (path) => kinds.get(path),
    paths: () => kinds.keys(),
    get rooted() {
      return rooted;
    },
    leftOut,
    admit(raw) {
      if (raw.name !== "." && !raw.name.startsWith("./")) rooted = false;
      const path = normalPath(raw.name);
      const kind = kindOfEntry(raw, path);
      if (path === "") {
        if (kind !== "directory") refuse(raw.name, "has no name");
        return undefined;
      }
      if (isGitPart(path)) {
        leftOut.add(".git");
        return undefined;
      }
      enter(path);
      const before = kinds.get(path);
      if (before !== undefined && !(before === "directory" && kind === "directory"))
        refuse(path, "comes twice in the archive");
      const target = kind === "symlink" || kind === "link" ? targetOf(raw, path, kind, kinds) : undefined;
      if (target === OUTSIDE) {
        leftOut.add(`symlink ${quoted(path)} to ${quoted(raw.linkname ?? "")}, which is out of the tree,`);
        return undefined;
      }
      kinds.set(path, kind);
      const executable = ((raw.mode ?? 0) & 0o111) !== 0;
      return {
        path,
        kind,
        mode: kind === "directory" || executable ? 0o755 : 0o644,
        sizeBytes: kind === "file" ? (raw.size ?? 0) : 0,
        ...(target === undefined ? {} : { target }),
      };
    },
  };
}

const OUTSIDE = Symbol("a symlink out of the tree");

function kindOfEntry(raw: RawEntry, path: string): EntryKind {
  const sparse =
    raw.pax !== undefined && raw.pax !== null && Object.keys(raw.pax).some((k) => k.startsWith("GNU.sparse"));
  if (sparse) refuse(path, "is a sparse file; make the archive without --sparse");
  const kind = Object.hasOwn(KINDS, raw.type ?? "") ? KINDS[raw.type!]! : undefined;
  if (kind === undefined) refuse(path, `is ${OTHER_KINDS.get(raw.type) ?? "of a kind that no source tree has"}`);
  if (kind !== "directory" && ((raw.mode ?? 0) & 0o6000) !== 0) refuse(path, "has the setuid or setgid bit");
  return kind!;
}

/** `./a//b/` -> `a/b`. */
function normalPath(name: string): string {
  if (name.startsWith("/")) refuse(name, "has an absolute name");
  if (/[\u0000-\u001f\u007f]/.test(name)) refuse(name, "has control characters in its name");
  if (name.includes("\ufffd") || !name.isWellFormed()) refuse(name, "has a name that is not UTF-8");
  if (name.includes("\\") && /(^|[\\/])\.\.([\\/]|$)/.test(name)) refuse(name, "has `..` in its name");
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) refuse(name, "has `..` in its name");
  if (parts.length > DEPTH_MOST) refuse(name, `lies deeper than ${DEPTH_MOST} directories`);
  const path = parts.join("/");
  if (Buffer.byteLength(path) > PATH_MOST_BYTES || parts.some((part) => Buffer.byteLength(part) > PART_MOST_BYTES))
    refuse(name, "has a name that is too long");
  return path;
}

/**
 * `.git` is left out wherever it is. Any other way to write it, as file systems that fold case or drop characters read it
 * (`.GIT`, `git~1`, `.git `, `.g\u200cit`), has no good use.
 */
function isGitPart(path: string): boolean {
  for (const part of path.split("/")) {
    if (part === ".git") return true;
    const folded = part.replace(/[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g, "").replace(/[ .]+$|::?\$.*$/g, "");
    if (/^(\.git|git~\d+)$/i.test(folded)) refuse(path, "is another way to write .git");
  }
  return false;
}

/**
 * A hard link's target is a file that came before it. A symlink's is made relative and goes up (`../`) only at its beginning and no
 * further than the root: its own directory is a real one, so the way up is what it seems, and each link below is held to the same. One
 * that leads out of the tree is left out: what nobody follows harms nobody, and what is followed is missing by its name.
 */
function targetOf(
  raw: RawEntry,
  path: string,
  kind: "symlink" | "link",
  kinds: ReadonlyMap<string, EntryKind>,
): string | typeof OUTSIDE {
  const written = raw.linkname ?? "";
  if (kind === "link") {
    const target = normalPath(written);
    if (kinds.get(target) !== "file") refuse(path, `is a hard link to ${quoted(written)}, which is no file before it`);
    return target;
  }
  if (written === "" || /[\u0000-\u001f\u007f\ufffd]/.test(written) || Buffer.byteLength(written) > PATH_MOST_BYTES)
    refuse(path, "is a symlink with a target that is no path");
  if (written.startsWith("/")) return OUTSIDE;
  const parts = written.split("/").filter((part) => part !== "" && part !== ".");
  const real: string[] = [];
  for (const part of parts)
    if (part === ".." && real.length > 0 && real.at(-1) !== "..") real.pop();
    else real.push(part);
  if (real.filter((part) => part === "..").length > path.split("/").length - 1) return OUTSIDE;
  const isPlain = parts.filter((part) => part === "..").length === real.filter((part) => part === "..").length;
  return isPlain ? written : real.join("/") || ".";
}

function refuse(name: string, why: string): never {
  throw new Fault("invalid", `the source is refused: ${quoted(name)} ${why}`, { details: { path: shown(name) } });
}

const shown = (name: string): string => JSON.stringify(name.slice(0, 200)).slice(1, -1);
const quoted = (name: string): string => (name === "" ? "an entry" : shown(name));

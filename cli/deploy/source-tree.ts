// The working tree as a tar archive: what git would take (tracked, and new files that are not ignored), or, where there is no
// git, every file but those of `.git`. Names begin with `./`, so that the archive says where its root is.
import { createReadStream } from "node:fs";
import { lstat, readdir, readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import * as tar from "tar-stream";
import { Fault } from "#api/fault.ts";
import { ExecError, exec } from "#lib/exec.ts";

export interface TreeOptions {
  directory: string;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
}

export interface SourceArchive {
  /** Gzipped tar; its error is a Fault. */
  archive: Readable;
  files: number;
  /** Commit of HEAD when the tree is exactly that; undefined when anything differs, or without git. */
  commit: string | undefined;
}

const GIT_MS = 60_000;
const LIST_BYTES = 256 * 1024 ** 2;
const DEPTH_MOST = 100;

export async function sourceArchive(options: TreeOptions): Promise<SourceArchive> {
  const { directory } = options;
  const found = await stat(directory).catch((cause: unknown) => {
    throw new Fault("invalid", `read the source ${directory}`, { cause });
  });
  if (!found.isDirectory())
    throw new Fault("invalid", `${directory} is not a directory; an archive is sent with --archive ${directory}`);
  const listed = await gitFiles(directory, options);
  const paths = listed ?? (await allFiles(directory));
  if (paths.length === 0)
    throw new Fault("invalid", `there are no files in ${directory}${listed ? " that git does not ignore" : ""}`);
  const pack = tar.pack();
  const gzip = createGzip({ level: 1 });
  pipeline(pack as unknown as Readable, gzip, { signal: options.signal }).catch(() => undefined);
  fill(pack, directory, paths.sort()).catch((error: unknown) => {
    gzip.destroy(error as Error);
    pack.destroy();
  });
  return { archive: gzip, files: paths.length, commit: listed && (await cleanHead(directory, options)) };
}

async function fill(pack: tar.Pack, directory: string, paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const file = join(directory, path);
    const found = await lstat(file).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined; // deleted, and git does not know yet
      throw new Fault("invalid", `read ${path}`, { cause: error });
    });
    const header = { name: `./${path}`, mode: found?.mode ?? 0, mtime: found?.mtime ?? new Date(0) };
    if (found?.isSymbolicLink()) pack.entry({ ...header, type: "symlink", linkname: await readlink(file) });
    else if (found?.isFile()) await addFile(pack, { ...header, size: found.size }, file, path);
  }
  pack.finalize();
}

function addFile(pack: tar.Pack, header: { name: string; size: number }, file: string, path: string): Promise<void> {
  const refused = (cause: unknown) => new Fault("invalid", `read ${path} (did it change meanwhile?)`, { cause });
  return new Promise((resolve, reject) => {
    const sink = pack.entry(header, (error) => (error ? reject(refused(error)) : resolve()));
    if (header.size === 0) return void (sink as unknown as NodeJS.WritableStream).end();
    const content = createReadStream(file, { end: header.size - 1 });
    pipeline(content, sink as unknown as NodeJS.WritableStream).catch((error: unknown) => reject(refused(error)));
  });
}

/** Undefined when the directory is in no git work tree, or git is not installed. */
async function gitFiles(directory: string, options: TreeOptions, depth = 0): Promise<string[] | undefined> {
  const listing = await git(["ls-files", "-z", "--cached", "--others", "--exclude-standard"], directory, options);
  if (listing === undefined) return undefined;
  const files: string[] = [];
  for (const path of new Set(listing.split("\0").filter((name) => name !== ""))) {
    const found = await lstat(join(directory, path)).catch(() => undefined);
    // A submodule is listed as its directory: its files are what its own git says.
    if (!found?.isDirectory()) files.push(path);
    else if (depth < DEPTH_MOST) {
      const inner = (await gitFiles(join(directory, path), options, depth + 1)) ?? [];
      files.push(...inner.map((name) => join(path, name)));
    }
  }
  return files;
}

async function cleanHead(directory: string, options: TreeOptions): Promise<string | undefined> {
  const changes = await git(["status", "--porcelain"], directory, options);
  const top = await git(["rev-parse", "--show-prefix"], directory, options);
  if (changes?.trim() !== "" || top?.trim() !== "") return undefined;
  const head = (await git(["rev-parse", "--verify", "HEAD"], directory, options))?.trim();
  return head && /^[0-9a-f]{40,64}$/.test(head) ? head : undefined;
}

async function git(args: string[], cwd: string, { env, signal }: TreeOptions): Promise<string | undefined> {
  try {
    return (await exec(["git", ...args], { cwd, env, signal, timeoutMs: GIT_MS, maxOutputBytes: LIST_BYTES })).stdout;
  } catch (error) {
    const missing = (error as ExecError).cause as NodeJS.ErrnoException | undefined;
    if (error instanceof ExecError && (error.exitCode !== undefined || missing?.code === "ENOENT")) return undefined;
    throw error;
  }
}

async function allFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map(({ parentPath, name }) => join(parentPath, name).slice(directory.replace(/\/+$/, "").length + 1))
    .filter((path) => !path.split("/").includes(".git"));
}

// What a container has on this machine's disk: a walk of its own directories by `du`, in a process of its own that can be ended, so
// that a million files stand in nobody's way; and files it has deleted but holds open, which no walk finds. What could not be counted
// is unknown and says so: it is never taken for nothing.
import { createReadStream } from "node:fs";
import { opendir, readFile, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import type { Container } from "../engine/engine.ts";
import { memoryPlace } from "../memory.ts";

const WALK_TIMEOUT_MS = 30_000;
const ENVIRONMENT = { LC_ALL: "C", PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
/** Open files looked at in one count. */
const FILES_MOST = 100_000;
const FILES_AT_ONCE = 64;
/** Of one process's list of mappings; 65,530 of them (Linux's bound) with paths of usual length are some 8 MiB. */
const MAPS_MOST_BYTES = 64 << 20;

export interface DiskSpace {
  sizeBytes: number;
  freeBytes: number;
  /** Files that the file system can have, and how many more; 0 and 0 where it knows no such bound (btrfs). */
  inodes?: number;
  freeInodes?: number;
}

export interface DiskUse {
  usedBytes: number;
  /** Files and directories. */
  inodes?: number;
  /** Of its engine's directory for it, which may lie in memory. */
  ownBytes?: number;
  /** Files that stand in its sockets, sent and not received: what they hold is in no count. */
  parkedFiles?: number;
}

/** What a job has cannot be counted, for a reason of its own making. */
export class Uncountable extends Error {
  override name = "Uncountable";
}

export async function diskSpace(path: string): Promise<DiskSpace> {
  const { bavail, blocks, bsize, files, ffree } = await statfs(path);
  return { sizeBytes: blocks * bsize, freeBytes: bavail * bsize, inodes: files, freeInodes: ffree };
}

/** Undefined when its engine does not say where it writes; throws Uncountable. */
export async function diskUse(
  { id, pid, disk }: Pick<Container, "id" | "pid" | "disk">,
  signal?: AbortSignal,
): Promise<DiskUse | undefined> {
  if (disk === undefined) return undefined;
  const options = { timeoutMs: WALK_TIMEOUT_MS, signal };
  const [walked, inodes, ownBytes, held] = await Promise.all([
    treesBytes(disk.paths, options),
    treesInodes(disk.paths, options),
    disk.own === undefined ? 0 : treesBytes([disk.own], options),
    pid === undefined ? { bytes: 0, parkedFiles: 0 } : heldFiles({ id, pid }),
  ]);
  return { usedBytes: walked + held.bytes, inodes, ownBytes, parkedFiles: held.parkedFiles };
}

interface WalkOptions {
  timeoutMs?: number;
  signal?: AbortSignal | undefined;
}

/** What `du` counts under these directories, each file once, by blocks; what is not there counts nothing. */
export const treesBytes = async (paths: readonly string[], options: WalkOptions = {}): Promise<number> =>
  1024 * (await walk("-sxkc", paths, options));

/** Files and directories under these directories. */
export const treesInodes = (paths: readonly string[], options: WalkOptions = {}): Promise<number> =>
  walk("-sxc --inodes", paths, options);

async function walk(flags: string, paths: readonly string[], { timeoutMs = 60_000, signal }: WalkOptions) {
  if (paths.length === 0) return 0;
  const argv = ["nice", "-n", "10", "du", ...flags.split(" "), "--", ...paths];
  const beganMs = performance.now();
  // It ends with an error when a file vanished meanwhile, and has counted the rest all the same.
  const { stdout } = await exec(argv, { timeoutMs, signal, env: ENVIRONMENT }).catch((error: unknown) => {
    const { stdout: counted = "" } = error as { stdout?: string };
    if (/^\d+\ttotal$/m.test(counted)) return { stdout: counted };
    if (!signal?.aborted && performance.now() - beganMs >= timeoutMs)
      throw new Uncountable(`its files could not be counted within ${timeoutMs / 1_000} s`, { cause: error });
    throw error;
  });
  return Number.parseInt(/^(\d+)\ttotal$/m.exec(stdout)?.[1] ?? "0", 10);
}

/**
 * Files without a name that the container's processes hold, open or mapped, and how many stand in its sockets. Those of other file
 * systems (shared memory) count nothing.
 */
export async function heldFiles(
  { id, pid }: { id: string; pid: number },
  { proc = "/proc", cgroups = "/sys/fs/cgroup", filesMost = FILES_MOST } = {},
): Promise<{ bytes: number; parkedFiles: number }> {
  const found = new Map<number, number>();
  let [left, parkedFiles] = [filesMost, 0];
  const beganMs = performance.now();
  const look = async (files: readonly string[], dev: number): Promise<void> => {
    left -= files.length;
    if (left < 0) throw new Uncountable(`it has more than ${filesMost} files open, and they could not be counted`);
    if (performance.now() - beganMs >= WALK_TIMEOUT_MS)
      throw new Uncountable(`its open files could not be counted within ${WALK_TIMEOUT_MS / 1_000} s`);
    const looked = async (path: string): Promise<void> => {
      const file = await stat(path).catch(() => undefined);
      if (file?.isFile() && file.nlink === 0 && file.dev === dev) found.set(file.ino, file.blocks * 512);
      // unix(7): SCM_RIGHTS; proc(5), fdinfo.
      if (file?.isSocket()) parkedFiles += parkedIn(await read(path.replace(/\/fd\/(\d+)$/, "/fdinfo/$1")));
    };
    await Promise.all(files.map(looked));
  };
  const place = memoryPlace(await read(join(proc, String(pid), "cgroup")));
  if (!place?.path.includes(id)) return { bytes: 0, parkedFiles: 0 };
  const group = join(cgroups, place.v1 ? "memory" : "", place.path, "cgroup.procs");
  const pids = (await read(group)).split("\n").filter((line) => /^\d+$/.test(line));
  const root = await stat(join(proc, String(pid), "root")).catch(() => undefined);
  if (root === undefined) return { bytes: 0, parkedFiles: 0 }; // it has just ended: nothing is held any more
  for (const one of pids) {
    const directory = join(proc, one, "fd");
    let batch: string[] = [];
    for await (const { name } of await opendir(directory).catch(ended)) {
      batch.push(join(directory, name));
      if (batch.length < FILES_AT_ONCE) continue;
      await look(batch, root.dev);
      batch = [];
    }
    for await (const ranges of deletedMappings(join(proc, one, "maps"))) {
      batch.push(...ranges.map((range) => join(proc, one, "map_files", range)));
      while (batch.length >= FILES_AT_ONCE) await look(batch.splice(0, FILES_AT_ONCE), root.dev);
      await look([], root.dev); // asks for the time
    }
    await look(batch, root.dev);
  }
  return { bytes: [...found.values()].reduce((sum, bytes) => sum + bytes, 0), parkedFiles };
}

/**
 * Address ranges of files that are mapped and have no name any more, in pieces (proc(5), maps). A job chooses how many there are and how long
 * their paths were: neither all of it at once nor any of it twice.
 */
async function* deletedMappings(path: string): AsyncGenerator<string[]> {
  let [rest, leftBytes] = ["", MAPS_MOST_BYTES];
  const stream = createReadStream(path, { encoding: "latin1", highWaterMark: 64 << 10 });
  try {
    for await (const chunk of stream as AsyncIterable<string>) {
      leftBytes -= chunk.length;
      if (leftBytes < 0) throw new Uncountable("what its processes have mapped is too much to be counted");
      const lines = chunk.split("\n");
      lines[0] = rest + lines[0];
      rest = lines.pop()!;
      yield lines.flatMap((line) => deletedRange(line) ?? []);
    }
  } catch (error) {
    ended(error);
  }
}

/** Exported for its test: what a job can write into it is bounded by nothing but the kernel. */
export function deletedRange(line: string): string | undefined {
  if (!line.endsWith(" (deleted)") || !line.includes("/")) return undefined;
  const range = line.slice(0, Math.max(0, line.indexOf(" ")));
  return /^[0-9a-f]{1,16}-[0-9a-f]{1,16}$/.test(range) ? range : undefined;
}

const parkedIn = (fdinfo: string): number => Number(/^scm_fds:\s*(\d+)$/m.exec(fdinfo)?.[1] ?? 0);

/** A process that has ended holds nothing; any other failure is one. */
function ended(error: unknown): [] {
  if (["ENOENT", "ESRCH", "ENODEV"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
  throw error;
}

const read = (path: string): Promise<string> => readFile(path, "utf8").catch((error: unknown) => ended(error).join());

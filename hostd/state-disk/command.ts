// `hostd disk`: runs once per boot, before Docker. Finds or makes the state file system by the seed's policy, puts Docker's and
// flynn's directories on it, and leaves what it did where the agent finds it for the timeline. It always ends with both mounted.
// A disk that takes longer than 90 s to read is left to `hostd disk --later`, and the state is in RAM in this boot.
import { mkdir, realpath, rm } from "node:fs/promises";
import { totalmem } from "node:os";
import { join } from "node:path";
import type { DiskPolicy } from "#api/boot.ts";
import { exec } from "#lib/exec.ts";
import { writeFileAtomic } from "#lib/files.ts";
import { createLog, type Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { formatDuration, formatSize } from "#lib/units.ts";
import { readSeed } from "../config.ts";
import { takeInstalled } from "../install/take.ts";
import { containersOf, forgetUnrecorded, keepSecretsInRam } from "../secrets-in-ram.ts";
import { STATE_LABEL } from "./disk.ts";
import { diskOwner } from "./mark.ts";
import { isMounted } from "./mounts.ts";
import { addNote, type DiskOutcome, laterFile, writeOutcome } from "./outcome.ts";
import type { readDisks } from "./probe.ts";
import type { ScanProgress } from "./scan.ts";
import { shownDisks, takeDisk } from "./take.ts";
import { wipeHint } from "./words.ts";

export interface DiskCommandOptions {
  seedFile: string;
  signal: AbortSignal;
  log?: Log;
  runDir?: string;
  /** Where the state file system is mounted, and what is put on it. */
  mountPoint?: string;
  directories?: Record<string, string>;
  /** The disks of this machine, unless given. */
  read?: typeof readDisks;
  /** How long Docker may wait for a disk to be read. */
  withinMs?: number;
}

const DIRECTORIES = { docker: "/var/lib/docker", flynn: "/var/lib/flynn" };
const RUN_DIR = "/run/flynn";
const WITHIN_MS = 90_000;

export async function diskCommand(options: DiskCommandOptions): Promise<void> {
  const { seedFile, signal, log = createLog("hostd"), runDir = RUN_DIR, withinMs = WITHIN_MS } = options;
  const { mountPoint = "/mnt/flynn-state", directories = DIRECTORIES } = options;
  if (await isMounted(mountPoint)) {
    log.info({ mountPoint }, "state file system is mounted already");
    await layOut({ seedFile, mountPoint, directories, log, signal });
    return;
  }
  const { policy, owner, order, givenUp, take } = await readOrders(seedFile);
  const outcome: DiskOutcome = {
    at: new Date().toISOString(),
    policy: policy.name,
    did: "ram",
    reason: "",
    warn: false,
    disks: [],
  };
  await mkdir(mountPoint, { recursive: true });
  await mkdir(runDir, { recursive: true });
  try {
    const tenths = tenthsOf((path, doing, progress) => log.info({ path, ...progress }, `state disk ${doing}`));
    const refusals: Promise<void>[] = [];
    const { choice, disks, made, late } = await take({
      policy,
      owner,
      order,
      givenUp,
      directory: runDir,
      withinMs,
      read: options.read,
      onProgress: tenths,
      onRefused: (path, why) => void refusals.push(noteRefusal(runDir, owner.machineName, path, why)),
      onWipe: (wipe) => void Object.assign(outcome, { wipe }),
      log,
      signal,
    });
    await Promise.all(refusals);
    outcome.disks = shownDisks(disks, owner);
    if (late !== undefined) {
      const { path, sizeBytes, msLeft } = late;
      const doing = choice.do === "take" && choice.begin === "erase" ? "erased and read" : "read";
      outcome.reason = `state in RAM in this boot, while every byte of ${path} (${formatSize(sizeBytes)}) is ${doing}, about ${formatDuration(msLeft)}; it keeps the state from the next boot on if all are zero (policy ${policy.name})`;
      await writeFileAtomic(laterFile(runDir), JSON.stringify(late));
    } else if (choice.do === "use") {
      await mountDisk(choice.path, mountPoint, signal);
      Object.assign(outcome, { did: made ? "format" : "use", path: choice.path, reason: choice.reason });
    } else
      Object.assign(outcome, {
        reason: choice.reason,
        warn: choice.do === "ram" && choice.warn === true,
        ...(choice.do === "ram" && choice.code !== undefined ? { code: choice.code } : {}),
      });
    if (outcome.wipe?.did === "refused")
      await addNote(runDir, {
        key: "disk:wipe",
        level: "warning",
        message: outcome.wipe.reason,
        code: "wipe-refused",
      });
  } catch (error) {
    if (signal.aborted) throw error;
    log.error({ err: error }, "state disk could not be prepared");
    const reason = `state in RAM: ${causeChain(error).join(": ")}`.slice(0, 380);
    Object.assign(outcome, { did: "ram", path: undefined, warn: true, reason, code: "disk-failed" });
  }
  if (outcome.did === "ram") await mountRam(mountPoint, signal);
  await layOut({ seedFile, mountPoint, directories, log, signal });
  await writeOutcome(runDir, outcome);
  log.info({ outcome }, "state file system is ready");
}

/** What is not in its place yet: a run that was cut off is gone on with, and Docker never starts on the half of it. */
async function layOut({
  seedFile,
  mountPoint,
  directories,
  log,
  signal,
}: Required<Pick<DiskCommandOptions, "seedFile" | "mountPoint" | "directories" | "log" | "signal">>): Promise<void> {
  const { docker } = directories;
  let isDockerNew = false;
  for (const [name, target] of Object.entries(directories)) {
    if (await isMounted(target)) continue;
    await bind(join(mountPoint, name), target, signal);
    if (target === docker) isDockerNew = true;
  }
  if (docker === undefined) return;
  if (readSeed(seedFile).secrets === "ram") {
    if (!(await isMounted(containersOf(docker)))) await keepSecretsInRam(docker, { signal });
  } else if (isDockerNew)
    // Never later, since Docker may run by then; and no reason not to let it start.
    await forgetUnrecorded(docker).catch((error: unknown) => log.error({ err: error }, "what lies there stays"));
}

/** Beside the running host: what `hostd disk` had no time for. Begins anew whenever it is started, and mounts nothing. */
export async function laterDiskCommand(
  options: Pick<DiskCommandOptions, "seedFile" | "signal" | "log" | "runDir" | "read">,
): Promise<void> {
  const { seedFile, signal, log = createLog("hostd"), runDir = RUN_DIR } = options;
  const { policy, owner, order, givenUp, take } = await readOrders(seedFile);
  const notes: Promise<void>[] = [];
  // Written one after the other.
  const note = (key: string, level: "info" | "warning", message: string): void => {
    log.info({ key, message }, "state disk");
    const before = notes.at(-1) ?? Promise.resolve();
    notes.push(before.then(() => addNote(runDir, { key, level, message })));
  };
  const tenths = tenthsOf((path, doing, { tenth, bytes, bytesPerSecond, msLeft }) =>
    note(
      `disk:${path}:${doing}:${tenth}`,
      "info",
      `${path}: ${tenth * 10} % ${doing} (${formatSize(bytes)}${doing === "read" ? ", all zero" : ""}), ${formatSize(bytesPerSecond)}/s, about ${formatDuration(msLeft)} left`,
    ),
  );
  const { choice, made } = await take({
    policy,
    owner,
    order,
    givenUp,
    directory: runDir,
    read: options.read,
    onProgress: tenths,
    onRefused: (path, why) => note(`disk:${path}`, "warning", `${path} ${why}. ${wipeHint(owner.machineName, path)}`),
    onWipe: () => undefined,
    log,
    signal,
  });
  if (choice.do === "use" && made)
    note(
      "disk:made",
      "info",
      `${choice.path} is formatted and keeps the state from the next boot on: ${choice.reason}`,
    );
  else if (choice.do === "ram") note("disk:none", "warning", choice.reason);
  await Promise.all(notes);
  await rm(laterFile(runDir), { force: true });
}

async function readOrders(seedFile: string) {
  const seed = readSeed(seedFile);
  const { path: name, ...rest } = seed.diskPolicy;
  // lsblk knows kernel names only, people name disks by-id.
  const path = name && (await realpath(name).catch(() => name));
  const policy: DiskPolicy = { ...rest, ...(path ? { path } : {}) };
  const take = seed.install === "disk" ? takeInstalled : takeDisk;
  return { policy, owner: diskOwner(seed), order: seed.wipeOrder, givenUp: seed.givenUp ?? [], take };
}

const noteRefusal = (runDir: string, machineName: string, path: string, why: string): Promise<void> =>
  addNote(runDir, { key: `disk:${path}`, level: "warning", message: `${path} ${why}. ${wipeHint(machineName, path)}` });

/** Calls at each tenth of what is done to a disk, but its end. */
function tenthsOf(
  call: (path: string, doing: "read" | "erased", progress: ScanProgress & { tenth: number }) => void,
): (path: string, doing: "read" | "erased", progress: ScanProgress) => void {
  const last = new Map<string, number>();
  return (path, doing, progress) => {
    const tenth = Math.floor((progress.bytes * 10) / progress.ofBytes);
    const key = `${path} ${doing}`;
    if (tenth === 0 || tenth === 10 || tenth <= (last.get(key) ?? 0)) return;
    last.set(key, tenth);
    call(path, doing, { ...progress, tenth });
  };
}

async function mountDisk(path: string, mountPoint: string, signal: AbortSignal): Promise<void> {
  // Exit 1: errors were corrected, which is what it is for.
  await exec(["e2fsck", "-p", path], { timeoutMs: 600_000, signal }).catch((error: { exitCode?: number }) => {
    if (error.exitCode !== 1) throw error;
  });
  await exec(["mount", "-t", "ext4", "-o", "noatime", path, mountPoint], { timeoutMs: 60_000, signal });
}

async function mountRam(mountPoint: string, signal: AbortSignal): Promise<void> {
  const size = Math.floor(totalmem() / 2);
  await exec(["mount", "-t", "tmpfs", "-o", `size=${size},mode=0755`, STATE_LABEL, mountPoint], {
    timeoutMs: 60_000,
    signal,
  });
}

async function bind(from: string, to: string, signal: AbortSignal): Promise<void> {
  await mkdir(from, { recursive: true, mode: 0o711 });
  await mkdir(to, { recursive: true });
  await exec(["mount", "--bind", from, to], { timeoutMs: 60_000, signal });
}

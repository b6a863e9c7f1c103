// `hostd disk`: runs once per boot, before Docker. Finds or makes the state file system by the seed's policy, puts Docker's and
// flynn's directories on it, and writes what it did where the agent finds it for the timeline. It always ends with both mounted.
import { mkdir, readFile, realpath } from "node:fs/promises";
import { totalmem } from "node:os";
import { join } from "node:path";
import type { DiskPolicy } from "#api/boot.ts";
import { exec } from "#lib/exec.ts";
import { writeFileAtomic } from "#lib/files.ts";
import { createLog, type Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { readSeed } from "./config.ts";
import {
  chooseDisk,
  type Disk,
  type DiskChoice,
  type DiskOutcome,
  isStateDisk,
  notEmptyBecause,
  STATE_LABEL,
} from "./disk.ts";
import { readDisks } from "./disk-probe.ts";

export interface DiskCommandOptions {
  seedFile: string;
  signal: AbortSignal;
  log?: Log;
  runDir?: string;
  /** Where the state file system is mounted, and what is put on it. */
  mountPoint?: string;
  directories?: Record<string, string>;
}

const DIRECTORIES = { docker: "/var/lib/docker", flynn: "/var/lib/flynn" };

export async function diskCommand(options: DiskCommandOptions): Promise<void> {
  const { seedFile, signal, log = createLog("hostd"), runDir = "/run/flynn" } = options;
  const { mountPoint = "/mnt/flynn-state", directories = DIRECTORIES } = options;
  if (isMountPoint(await readFile("/proc/self/mountinfo", "utf8"), mountPoint)) {
    log.info({ mountPoint }, "state file system is mounted already");
    return;
  }
  const seeded = readSeed(seedFile).diskPolicy;
  // lsblk knows kernel names only, people name disks by-id.
  const path = seeded.path && (await realpath(seeded.path).catch(() => seeded.path));
  const policy: DiskPolicy = { ...seeded, ...(path ? { path } : {}) };
  const outcome: DiskOutcome = {
    at: new Date().toISOString(),
    policy: policy.name,
    did: "ram",
    reason: "",
    failed: false,
    disks: [],
  };
  await mkdir(mountPoint, { recursive: true });
  try {
    const disks = policy.mode === "ram" ? [] : await readDisks(signal);
    outcome.disks = disks.map((disk) => ({ path: disk.path, why: describe(disk) }));
    const choice = chooseDisk(disks, policy);
    log.info({ choice, disks: outcome.disks }, "state disk chosen");
    Object.assign(outcome, { did: choice.do, reason: choice.reason }, "path" in choice ? { path: choice.path } : {});
    if (choice.do !== "ram") await mountDisk(choice, policy, mountPoint, signal);
  } catch (error) {
    if (signal.aborted) throw error;
    log.error({ err: error }, "state disk could not be prepared");
    const reason = `state in RAM: ${causeChain(error).join(": ")}`.slice(0, 380);
    Object.assign(outcome, { did: "ram", failed: true, reason });
  }
  if (outcome.did === "ram") await mountRam(mountPoint, signal);
  for (const [name, target] of Object.entries(directories)) await bind(join(mountPoint, name), target, signal);
  await writeFileAtomic(join(runDir, "disk.json"), JSON.stringify(outcome));
  log.info({ outcome }, "state file system is ready");
}

async function mountDisk(
  choice: Exclude<DiskChoice, { do: "ram" }>,
  policy: DiskPolicy,
  mountPoint: string,
  signal: AbortSignal,
) {
  const { path } = choice;
  if (choice.do === "format") {
    // Looked at again at the last moment. Without -F, mkfs also refuses a device that is in use (O_EXCL).
    const again = chooseDisk(await readDisks(signal), policy);
    if (again.do !== "format" || again.path !== path) throw new Error(`${path} changed while it was looked at`);
    await exec(["mkfs.ext4", "-q", "-L", STATE_LABEL, "-m", "1", path], { timeoutMs: 600_000, signal });
  } else {
    // Exit 1: errors were corrected, which is what it is for.
    await exec(["e2fsck", "-p", path], { timeoutMs: 600_000, signal }).catch((error: { exitCode?: number }) => {
      if (error.exitCode !== 1) throw error;
    });
  }
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

const describe = (disk: Disk): string =>
  isStateDisk(disk) ? "is this host's state disk" : (notEmptyBecause(disk) ?? "is empty");

/** Field 5 of a mountinfo line is the mount point, with spaces as \040. */
export function isMountPoint(mountinfo: string, path: string): boolean {
  return mountinfo.split("\n").some((line) => line.split(" ")[4] === path);
}

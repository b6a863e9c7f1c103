// What a lab run leaves on the machine, as records in a journal, and how each is taken away. The same undo serves a normal
// end, the watchdog after a SIGKILL, and the next run's sweep of runs whose owner is dead. Undoing twice does no harm.
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { readdir, readFile, rm, rmdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { readJson, readText } from "#lib/files.ts";
import { processId } from "#lib/process-id.ts";
import { sleep, until } from "#lib/time.ts";

export type Leftover =
  | { kind: "process"; pid: number; startTicks: string }
  | { kind: "netns"; name: string }
  | { kind: "cgroup"; name: string }
  /** Of cgroup v1: what is frozen in it cannot be killed before it is thawed. */
  | { kind: "freezer"; name: string }
  | { kind: "folder"; path: string };

/** Every process a run starts inherits this variable with the run's id: so none is missed, whoever started it. */
export const RUN_VARIABLE = "FLYNN_LAB_RUN";
export const LAB_FOLDER = join(tmpdir(), "flynn-lab");

export interface Owner {
  pid: number;
  startTicks: string;
}

/** `fl<pid>`: the prefix of everything a process's lab makes; short enough for an interface name. */
export function runId(pid: number = process.pid): string {
  return `fl${pid}`;
}

export function runFolder(id: string): string {
  return join(LAB_FOLDER, id);
}

export async function createJournal(id: string): Promise<void> {
  mkdirSync(runFolder(id), { recursive: true });
  const owner: Owner = { pid: process.pid, startTicks: (await startTicks(process.pid)) ?? "" };
  writeFileSync(join(runFolder(id), "owner.json"), JSON.stringify(owner));
}

/** Written before the thing is made, so a death in between leaves nothing unknown. */
export function journal(id: string, record: Leftover): void {
  appendFileSync(join(runFolder(id), "journal"), `${JSON.stringify(record)}\n`);
}

/** Takes away everything the run's journal names, newest first, then the run's folder. Returns what could not be. */
export async function undoRun(id: string): Promise<string[]> {
  const problems: string[] = [];
  const attempt = async (what: string, work: Promise<unknown>) => {
    await work.catch((error: Error) => problems.push(`${what}: ${error.message}`));
  };
  const lines = ((await readText(join(runFolder(id), "journal"))) ?? "").split("\n").filter((line) => line !== "");
  const records = lines.flatMap((line) => parseRecord(line)).reverse();
  for (const record of records.filter(({ kind }) => kind === "freezer"))
    await attempt(JSON.stringify(record), undo(record));
  await attempt("processes", killTagged(id));
  for (const record of records) await attempt(JSON.stringify(record), undo(record));
  if (problems.length === 0) await attempt("folder", rm(runFolder(id), { recursive: true, force: true }));
  return problems;
}

export async function undo(record: Leftover): Promise<void> {
  switch (record.kind) {
    case "process":
      return killProcess(record);
    case "netns":
      return deleteNamespace(record.name);
    case "cgroup":
      return removeCgroup(record.name);
    case "freezer":
      return removeFreezer(record.name);
    case "folder":
      return removeFolder(record.path);
  }
}

/** Ids of runs on this machine whose owner is dead. */
export async function deadRuns(): Promise<string[]> {
  const names = await readdir(LAB_FOLDER).catch(() => [] as string[]);
  const dead: string[] = [];
  for (const id of names.filter((name) => /^fl\d+$/.test(name))) {
    const owner = await readJson<Owner>(join(runFolder(id), "owner.json"));
    const now = await startTicks(Number(id.slice(2)));
    // A run without a readable owner is being made right now, unless its process is gone.
    if (owner ? now !== owner.startTicks : now === undefined) dead.push(id);
  }
  return dead;
}

/** The kernel's start time of a process, in ticks since boot: with the pid it names a process for good. */
export async function startTicks(pid: number): Promise<string | undefined> {
  const found = await processId(pid);
  return found && String(found.startTicks);
}

function parseRecord(line: string): Leftover[] {
  try {
    return [JSON.parse(line) as Leftover];
  } catch {
    return []; // torn by the death of its writer: the thing was not made yet
  }
}

async function killTagged(id: string): Promise<void> {
  const tag = `${RUN_VARIABLE}=${id}`;
  const tagged = async () => {
    const found: number[] = [];
    for (const name of await readdir("/proc")) {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
      const environment = await readFile(`/proc/${name}/environ`, "latin1").catch(() => "");
      if (environment.split("\0").includes(tag) && (await startTicks(Number(name))) !== undefined)
        found.push(Number(name));
    }
    return found;
  };
  const noneLeft = async () => {
    const pids = await tagged();
    for (const pid of pids) signal(pid, "SIGKILL");
    return pids.length === 0;
  };
  await until(noneLeft, { what: `the end of the processes of ${id}`, timeoutMs: 10_000, everyMs: 50 });
}

async function killProcess(record: { pid: number; startTicks: string }): Promise<void> {
  const gone = async () => {
    if ((await startTicks(record.pid)) !== record.startTicks) return true;
    signal(-record.pid, "SIGKILL");
    signal(record.pid, "SIGKILL");
    return false;
  };
  await until(gone, { what: `the end of process ${record.pid}`, timeoutMs: 10_000, everyMs: 20 });
}

/** False when there is no such process or group. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

async function deleteNamespace(name: string): Promise<void> {
  const { stdout } = await exec(["ip", "netns", "list"]);
  if (!stdout.split("\n").some((line) => line.split(" ")[0] === name)) return;
  const { stdout: pids } = await exec(["ip", "netns", "pids", name]);
  for (const pid of pids.split("\n").filter((line) => line !== "")) signal(Number(pid), "SIGKILL");
  await exec(["ip", "netns", "delete", name]);
}

const FREEZERS = "/sys/fs/cgroup/freezer";

/** Thaws what is in the cgroup of this name, and takes the cgroup away from under it. */
async function removeFreezer(name: string): Promise<void> {
  const path = join(FREEZERS, name);
  const isThere = await writeFile(join(path, "freezer.state"), "THAWED").then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
      return false;
    },
  );
  if (!isThere) return;
  const empty = async () => {
    const pids = (await readFile(join(path, "cgroup.procs"), "utf8")).split("\n").filter(Boolean);
    for (const pid of pids)
      await writeFile(join(FREEZERS, "cgroup.procs"), pid).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ESRCH") throw error; // it has ended
      });
    return removeGroup(path);
  };
  await until(empty, { what: `the end of the freezer ${name}`, timeoutMs: 10_000, everyMs: 20 });
}

/** The cgroup `name` at the top of each hierarchy, with what is in it; busy for a moment after its processes ended. */
async function removeCgroup(name: string): Promise<void> {
  const top = "/sys/fs/cgroup";
  const hierarchies = [
    top,
    ...(await readdir(top, { withFileTypes: true })).filter((e) => e.isDirectory()).map((e) => join(top, e.name)),
  ];
  for (const hierarchy of hierarchies) {
    for (let attempt = 1; !(await removeGroup(join(hierarchy, name))); attempt++) {
      if (attempt === 40) throw new Error(`cgroup ${join(hierarchy, name)} stays busy`);
      await sleep(50);
    }
  }
}

async function removeGroup(path: string): Promise<boolean> {
  const inside = await readdir(path, { withFileTypes: true }).catch(() => undefined);
  if (inside === undefined) return true;
  for (const entry of inside) if (entry.isDirectory()) await removeGroup(join(path, entry.name));
  return rmdir(path).then(
    () => true,
    () => false,
  );
}

/** What is mounted at `path` or below: dockerd mounts its own data root, and leaves it when it is killed. */
export async function unmountUnder(path: string): Promise<void> {
  const mounts = (await readFile("/proc/self/mounts", "utf8")).split("\n").map((line) => line.split(" ")[1] ?? "");
  for (const mount of mounts.filter((at) => at === path || at.startsWith(`${path}/`)).reverse())
    await exec(["umount", "--lazy", mount]);
}

async function removeFolder(path: string): Promise<void> {
  if (!path.startsWith(`${LAB_FOLDER}/`)) throw new Error(`${path} is not the lab's to remove`);
  await unmountUnder(path);
  const { stdout } = await exec(["losetup", "--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE"]);
  for (const [device, file = ""] of stdout.split("\n").map((line) => line.split(" ")))
    if (device && file.startsWith(`${path}/`)) await exec(["losetup", "--detach", device]);
  await rm(path, { recursive: true, force: true, maxRetries: 5 });
}

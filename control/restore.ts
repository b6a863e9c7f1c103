// `restore` and `backup` of the control plane's state, offline: what an operator reaches for when control refuses to start.
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { FAULTS, Fault, isFault } from "#api/fault.ts";
import { readText } from "#lib/files.ts";
import { causeChain } from "#lib/run.ts";
import { formatSize } from "#lib/units.ts";
import { loadControlConfig } from "./config.ts";
import { noted } from "./last-backup.ts";
import { SEALING_DIRECTORY } from "./secrets.ts";
import { backupState, type Restored, replacedBy, restoreState } from "./store/restore.ts";

const USAGE = `usage: main.ts restore (--config FILE | --state DIR) [--from BACKUP] [--look | --replace]
       main.ts backup (--config FILE | --state DIR) --out BACKUP`;

/** A backup that leaks shows no values of variables, and speaks for no cluster; it is whole only with what it leaves out. */
const KEYS_APART = `not in it, and needed to restore it elsewhere: the directories ca (the cluster's CA) and ${SEALING_DIRECTORY} (the key that variables and certificates' keys are sealed with) beside the state; keep both, apart from the backup`;
const ALSO_APART =
  "nor are the apps' git repositories: copy the directory git beside the state with it. Without one, an app runs and its next push brings its whole history. Nor are images: copy the directory registry above it, or deploy again";

/** Runs the subcommand named by the first word; undefined when it names none. */
export function stateCommand(args: readonly string[]): (() => Promise<number>) | undefined {
  const [word, ...rest] = args;
  if (word === "restore") return () => exitCode(restore(rest));
  if (word === "backup") return () => exitCode(backup(rest));
  return undefined;
}

/** The same codes as of `flynn`, which hands them on. */
async function exitCode(work: Promise<number>): Promise<number> {
  return await work.catch((error: unknown) => {
    if (!isFault(error)) throw error;
    process.stderr.write(`error: ${[...new Set(causeChain(error))].join(": ")}\n`);
    return FAULTS[error.code].exit;
  });
}

async function restore(args: string[]): Promise<number> {
  const { config, state, from, look, replace } = flags(args, ["config", "state", "from"], ["look", "replace"]);
  const stateDir = stateDirectory({ config, state });
  const directory = join(stateDir, "store");
  const source = from && resolve(from);
  if (look) {
    const replaced = source === undefined ? undefined : await replacedBy({ directory, from: source });
    process.stdout.write(`${JSON.stringify({ replaced })}\n`);
    return 0;
  }
  const restored = await restoreState({ directory, from: source, replace, now: new Date() });
  for (const line of told(directory, restored)) process.stdout.write(`${line}\n`);
  if (from !== undefined) for (const line of await stillMissing(stateDir)) process.stdout.write(`${line}\n`);
  return 0;
}

/** What was kept apart from the backup and is not back yet. */
async function stillMissing(stateDir: string): Promise<string[]> {
  const has = async (...names: string[]) => (await readText(join(stateDir, ...names))) !== undefined;
  const lines: string[] = [];
  if (!(await has("ca", "ca.key")))
    lines.push(
      `put the directory ca that was kept with the backup into ${stateDir}: without it the cluster gets a new CA, and hosts and users of the old one must be added again`,
    );
  if (!(await has(SEALING_DIRECTORY, "keys")))
    lines.push(
      `put the directory ${SEALING_DIRECTORY} that was kept with the backup into ${stateDir}: control does not start without the key in it`,
    );
  return lines;
}

async function backup(args: string[]): Promise<number> {
  const { config, state, out } = flags(args, ["config", "state", "out"]);
  if (out === undefined) throw new Fault("invalid", USAGE);
  const stateDir = stateDirectory({ config, state });
  const { seq, sizeBytes } = await noted(stateDir, resolve(out), () =>
    backupState(join(stateDir, "store"), resolve(out)),
  );
  process.stdout.write(`state up to record ${seq} is in ${out} (${formatSize(sizeBytes)})\n`);
  process.stdout.write(`${KEYS_APART}\n${ALSO_APART}\n`);
  return 0;
}

/** What an operator is told: what is there, what is not, and where the old files are. */
export function told(directory: string, restored: Restored | undefined): string[] {
  if (restored === undefined) return [`state in ${directory} opens without loss; nothing was changed`];
  const { seq, entries, at, lost, asideDir } = restored;
  const lines = [`state in ${directory} is restored: ${entries} entries as of record ${seq}${at ? ` (${at})` : ""}`];
  if (lost === undefined) lines.push("no record is known to be lost");
  else {
    const { fromSeq, toSeq, after, until } = lost;
    const when = [after && `after ${after}`, until && `until ${until}`].filter(Boolean).join(", ");
    lines.push(
      `lost: ${toSeq - fromSeq + 1} records, ${fromSeq} to ${toSeq}${when ? `, made ${when}` : ""}: changes in them are undone`,
    );
  }
  if (asideDir !== undefined) {
    const back = `; to take it back, with the appliance down: flynn cluster restore --state ${dirname(dirname(directory))} ${asideDir}`;
    lines.push(
      `the directory as it was is kept in ${asideDir}${asideDir.startsWith(`${directory}.before-`) ? back : ""}`,
    );
  }
  return lines;
}

function stateDirectory({ config, state }: { config?: string; state?: string }): string {
  return state === undefined ? loadControlConfig(config).stateDir : resolve(state);
}

type Flags<Text extends string, Switch extends string> = Partial<Record<Text, string> & Record<Switch, boolean>>;

function flags<Text extends string, Switch extends string = never>(
  args: string[],
  texts: readonly Text[],
  switches: readonly Switch[] = [],
): Flags<Text, Switch> {
  try {
    const options = Object.fromEntries([
      ...texts.map((name) => [name, { type: "string" as const }]),
      ...switches.map((name) => [name, { type: "boolean" as const }]),
    ]) as Record<string, { type: "string" | "boolean" }>;
    return parseArgs({ args, options, strict: true }).values as Flags<Text, Switch>;
  } catch (cause) {
    throw new Fault("invalid", `${(cause as Error).message}\n${USAGE}`, { cause });
  }
}

// `restore` and `backup` of the control plane's state, offline: what an operator reaches for when control refuses to start.
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Fault } from "#api/fault.ts";
import { readText } from "#lib/files.ts";
import { formatSize } from "#lib/units.ts";
import { loadControlConfig } from "./config.ts";
import { SEALING_DIRECTORY } from "./secrets.ts";
import { backupState, type Restored, restoreState } from "./store/restore.ts";

const USAGE = `usage: main.ts restore --config FILE [--from BACKUP]
       main.ts backup --config FILE --out BACKUP`;

/** A backup that leaks shows no values of variables, and speaks for no cluster; it is whole only with what it leaves out. */
const KEYS_APART = `not in it, and needed to restore it elsewhere: the directories ca (the cluster's CA) and ${SEALING_DIRECTORY} (the key that variables and certificates' keys are sealed with) beside the state; keep both, apart from the backup`;
const ALSO_APART =
  "nor are the apps' git repositories: copy the directory git beside the state with it. Without one, an app runs and its next push brings its whole history";

/** Runs the subcommand named by the first word; undefined when it names none. */
export function stateCommand(args: readonly string[]): (() => Promise<number>) | undefined {
  const [word, ...rest] = args;
  if (word === "restore") return () => restore(rest);
  if (word === "backup") return () => backup(rest);
  return undefined;
}

async function restore(args: string[]): Promise<number> {
  const { config, from } = flags(args, ["config", "from"]);
  const directory = storeDirectory(config);
  const restored = await restoreState({ directory, from: from && resolve(from), now: new Date() });
  for (const line of told(directory, restored)) process.stdout.write(`${line}\n`);
  if (from !== undefined && (await readText(join(directory, "..", SEALING_DIRECTORY, "keys"))) === undefined)
    process.stdout.write(
      `put the directory ${SEALING_DIRECTORY} that was kept with the backup into ${join(directory, "..")}: control does not start without the key in it\n`,
    );
  return 0;
}

async function backup(args: string[]): Promise<number> {
  const { config, out } = flags(args, ["config", "out"]);
  if (out === undefined) throw new Fault("invalid", USAGE);
  const { seq, sizeBytes } = await backupState(storeDirectory(config), resolve(out));
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
  if (asideDir !== undefined) lines.push(`the directory as it was is kept in ${asideDir}`);
  return lines;
}

function storeDirectory(config: string | undefined): string {
  return join(loadControlConfig(config).stateDir, "store");
}

function flags(args: string[], names: readonly string[]): Record<string, string | undefined> {
  try {
    const options = Object.fromEntries(names.map((name) => [name, { type: "string" as const }]));
    return parseArgs({ args, options, strict: true }).values as Record<string, string | undefined>;
  } catch (cause) {
    throw new Fault("invalid", `${(cause as Error).message}\n${USAGE}`, { cause });
  }
}

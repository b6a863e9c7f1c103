// Appliances that run on this machine: by their state directory, or by a process of theirs.
import { join } from "node:path";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import { portHolder } from "#lib/port-holder.ts";
import { commandLine, isAlive, type ProcessId } from "#lib/process-id.ts";
import type { UpConfig } from "./config.ts";

/** The running appliance of this state directory, or undefined: that very process, not a later one with its pid. */
export async function runningUp(stateDir: string): Promise<ProcessId | undefined> {
  const kept = await readJson<ProcessId>(join(stateDir, "run", "up.json"));
  return kept !== undefined && (await isAlive(kept)) ? kept : undefined;
}

const settingsFile = (stateDir: string): string => join(stateDir, "run", "settings.json");

/** For those who look at the appliance later and are not given its flags. */
export function keepSettings(config: UpConfig): Promise<void> {
  return writeFileAtomic(settingsFile(config.stateDir), `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
}

/** Of the appliance's last start; undefined when there was none, or when they are another user's. */
export function keptSettings(stateDir: string): Promise<Partial<UpConfig> | undefined> {
  return readJson<Partial<UpConfig>>(settingsFile(stateDir)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "EACCES") return undefined;
    throw error;
  });
}

/** A running appliance that this process is a part of. */
export async function applianceOf(pid: number): Promise<{ stateDir: string; pid: number } | undefined> {
  const stateDir = stateDirOf(await commandLine(pid));
  const running = stateDir === undefined ? undefined : await runningUp(stateDir);
  return stateDir === undefined || running === undefined ? undefined : { stateDir, pid: running.pid };
}

/** The state directory of the appliance that has this port of the API. */
export async function stateDirAtPort(port: number): Promise<string | undefined> {
  const holder = await portHolder("tcp", port);
  return holder === undefined ? undefined : (await applianceOf(holder.pid))?.stateDir;
}

/** Pure: from the command line of a part (parts.ts, router/haproxy.ts), which names a file in its state directory. */
export function stateDirOf(command: string): string | undefined {
  return / (\/[^ ]+?)\/(?:run\/(?:control|router|hostd|bootstrap)\.json|run\/registry(?:-push)?\.yml|run\/sshd_config|router\/[^ ]*haproxy\.cfg)/.exec(
    ` ${command}`,
  )?.[1];
}

// Which target counts: the newest that control sent, never one of an older term, never another host's. The accepted one is on
// disk before it is acted on, so a restarted hostd with control away goes on where it was.
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { HostTarget } from "#api/host-agents.ts";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import { isSubnet } from "./network.ts";

export interface Seen {
  term: number;
  seq: number;
}

/** Why a target is refused, or undefined when it counts. */
export function refuseTarget(incoming: HostTarget, seen: Seen | undefined, hostId: string): string | undefined {
  if (!Number.isSafeInteger(incoming.term) || !Number.isSafeInteger(incoming.seq) || !Array.isArray(incoming.jobs))
    return "it is not a target";
  if (incoming.hostId !== hostId) return `it is for host ${incoming.hostId}`;
  if (!isSubnet(incoming.subnet) || !isSubnet(incoming.clusterRange)) return "its subnets are not IPv4 CIDR";
  // Ids become container names, app names become directories.
  const odd = incoming.jobs.find(
    ({ id, app }) => !/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/.test(id) || !/^[a-z][a-z0-9-]{0,29}$/.test(app),
  );
  if (odd) return `job ${JSON.stringify(odd.id)} of app ${JSON.stringify(odd.app)} has no proper name`;
  if (seen === undefined) return undefined;
  if (incoming.term < seen.term) return `its term ${incoming.term} is older than ${seen.term}`;
  if (incoming.term === seen.term && incoming.seq < seen.seq)
    return `its seq ${incoming.seq} is older than ${seen.seq}`;
  return undefined;
}

const FILE = "target.json";

export async function loadTarget(stateDir: string, hostId: string): Promise<HostTarget | undefined> {
  const kept = await readJson<HostTarget>(join(stateDir, FILE));
  return kept && refuseTarget(kept, undefined, hostId) === undefined ? kept : undefined;
}

export async function saveTarget(stateDir: string, target: HostTarget): Promise<void> {
  await mkdir(stateDir, { recursive: true, mode: 0o755 });
  await writeFileAtomic(join(stateDir, FILE), JSON.stringify(target), { mode: 0o600 });
}

/** Also what a write of it that was cut off left beside it, whatever process has that one's number now. */
export async function removeTarget(stateDir: string): Promise<void> {
  const names = await readdir(stateDir);
  for (const name of names.filter((each) => each === FILE || (each.startsWith(`${FILE}.`) && each.endsWith(".tmp"))))
    await rm(join(stateDir, name), { force: true });
}

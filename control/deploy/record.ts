// A deployment as it is stored, and reading those of an app.
import type { Static } from "typebox";
import type { FormationEntry } from "#api/apps.ts";
import type { Deployment } from "#api/deployments.ts";
import type { LogLine } from "#api/logs.ts";
import { plainText } from "../events.ts";
import { keys } from "../keys.ts";
import type { Store } from "../store/store.ts";

/** With the formation to put back if it fails. */
export interface DeploymentRecord extends Deployment {
  before: Record<string, Static<typeof FormationEntry>>;
  cancel?: string;
  /** Its release phase runs: nothing is switched yet, and there is no formation of the new release. */
  releasing?: boolean;
}

const ENDED = new Set<Deployment["state"]>(["complete", "failed", "cancelled"]);

export const hasEnded = ({ state }: Pick<Deployment, "state">): boolean => ENDED.has(state);

/** In the order they were asked for; ids alone sort no finer than a second. */
export function deploymentsOf(store: Store, appId: string): DeploymentRecord[] {
  return store
    .list<DeploymentRecord>(keys.deploymentsOf(appId))
    .map(({ value }) => value)
    .sort((a, b) => (a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : a.toVersion - b.toVersion));
}

const TAIL_MOST_BYTES = 8 * 1024;

/** The newest lines that fit into a record, whatever bytes they are made of. */
export function fittingTail(lines: readonly LogLine[]): LogLine[] {
  const kept: LogLine[] = [];
  let sizeBytes = 0;
  for (const line of lines.slice(-30).reverse()) {
    const short = { ...line, line: plainText(line.line) };
    sizeBytes += Buffer.byteLength(JSON.stringify(short));
    if (sizeBytes > TAIL_MOST_BYTES) break;
    kept.unshift(short);
  }
  return kept;
}

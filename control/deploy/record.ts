// A deployment as it is stored, and reading those of an app.
import type { Static } from "typebox";
import type { FormationEntry } from "#api/apps.ts";
import { type Deployment, hasEnded } from "#api/deployments.ts";
import type { LogLine } from "#api/logs.ts";
import { plainText } from "../events.ts";
import { keys } from "../keys.ts";
import type { Store } from "../store/store.ts";
import type { Counts } from "./strategy.ts";

/** Where a deployment pauses by itself, and the share of requests that its release has meanwhile. */
export type Staging = Pick<Deployment, "pauseAfter" | "canaryPercent">;

/** With the formation to go back to if it fails. */
export interface DeploymentRecord extends Deployment {
  before: Record<string, Static<typeof FormationEntry>>;
  /** Jobs of each process that were healthy when it began: as many, and no more, are waited for on the way back. */
  hadHealthy?: Counts;
  cancel?: string;
  /** Counts the app's deployments: their order. Missing in records of before 0.2. */
  order?: number;
  /** The earlier jobs are drained and kept, until the new ones have stayed healthy. */
  keeping?: boolean;
  /** They had to serve again: the new ones have to stay healthy first now. */
  recalled?: boolean;
  /** Its release phase runs: nothing is switched yet, and there is no formation of the new release. */
  releasing?: boolean;
}

/** Its release serves alone, though it has not ended: the earlier jobs are kept for a moment more. */
export const isLive = ({ state, liveAt, goingBack }: Deployment): boolean =>
  state === "running" && liveAt !== undefined && goingBack === undefined;

/** It waits to be resumed; what it began is finished meanwhile. */
export const isPaused = ({ state, pausedAt, goingBack }: Deployment): boolean =>
  state === "running" && pausedAt !== undefined && goingBack === undefined;

/** It was called off, or it failed and goes back: its release is not the one the app is headed for. */
export const isComing = ({ state, cancel, goingBack }: DeploymentRecord): boolean =>
  !hasEnded({ state }) && cancel === undefined && goingBack === undefined;

/** As people see it. One that waits its turn says for what. */
export function shownDeployment(record: DeploymentRecord, ahead: DeploymentRecord | undefined): Deployment {
  const { before: _, hadHealthy: __, cancel: ___, releasing: ____, order: _____, ...rest } = record;
  const { keeping: ______, recalled: _______, ...shown } = rest;
  if (record.state !== "pending" || ahead === undefined || ahead.id === record.id) return shown;
  const { toVersion, goingBack, pausedAt } = ahead;
  const why =
    pausedAt !== undefined
      ? `v${toVersion} is paused; to go on: flynn deployment resume, to go back: flynn deployment cancel`
      : goingBack === undefined
        ? `v${toVersion} is deployed first`
        : `v${toVersion} ${goingBack === "failed" ? "failed" : "was cancelled"} and goes back first`;
  return { ...shown, step: `queued: ${why}` };
}

/** In the order they were asked for, whatever the clock said. Those of before there were numbers come first. */
export function deploymentsOf(store: Pick<Store, "list">, appId: string): DeploymentRecord[] {
  return store
    .list<DeploymentRecord>(keys.deploymentsOf(appId))
    .map(({ value }) => value)
    .sort(byOrder);
}

const byOrder = (a: DeploymentRecord, b: DeploymentRecord): number =>
  (a.order ?? 0) - (b.order ?? 0) ||
  (a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : a.toVersion - b.toVersion);

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

// How many builds of an app may wait, and how much their sources may be on control's disk. Pure but for the records it is given.
import { hasEnded } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import { formatSize } from "#lib/units.ts";
import type { BuildRecord } from "./record.ts";

const QUEUED_MOST = 20;

/** Fault `rate-limited` when one build more is too many, or its source of `needBytes` too much. */
export function checkSources(
  app: string,
  builds: readonly BuildRecord[],
  { mostBytes, needBytes = 1 }: { mostBytes: number; needBytes?: number },
): void {
  const waiting = builds.filter((build) => !hasEnded(build));
  const how = `Wait for their end, or cancel one: flynn -a ${app} build cancel ${waiting.at(-1)?.number ?? ""}`.trim();
  if (waiting.length >= QUEUED_MOST)
    throw new Fault("rate-limited", `app ${app} has ${QUEUED_MOST} builds waiting already. ${how}`);
  const keptBytes = waiting.reduce((sum, { source }) => sum + source.sizeBytes, 0);
  if (keptBytes + needBytes <= mostBytes) return;
  const limit = `${formatSize(mostBytes)} unpacked, the most that is kept of one app`;
  throw waiting.length === 0
    ? new Fault("too-large", `the source is larger than ${limit}; to raise it: flynn up --app-source-limit 8GiB`)
    : new Fault(
        "rate-limited",
        `the sources of the ${waiting.length} builds of ${app} that have not ended are ${formatSize(keptBytes)}; with this one they would be more than ${limit}. ${how}`,
      );
}

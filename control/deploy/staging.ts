// What is asked of a staged deployment, checked once for all ways to ask for one; and scaling while it is paused. Pure.
import type { Formation } from "#api/apps.ts";
import { Fault } from "#api/fault.ts";
import type { DeploymentRecord, Staging } from "./record.ts";

type Asked = { [Field in keyof Staging]?: Staging[Field] | undefined };

/** A share without a pause would be over before anybody saw it. Fault `invalid`. */
export function stagingOf({ pauseAfter, canaryPercent }: Asked): Staging {
  if (canaryPercent !== undefined && pauseAfter === undefined)
    throw new Fault("invalid", "canaryPercent needs pauseAfter, such as pauseAfter=1 and canaryPercent=5", {
      details: { field: "pauseAfter" },
    });
  return {
    ...(pauseAfter === undefined ? {} : { pauseAfter }),
    ...(canaryPercent === undefined ? {} : { canaryPercent }),
  };
}

/** Jobs of the earlier release when there are to be `count` of the process in all, without those that the new one took over already. */
export function earlierCount(
  { processes }: Pick<DeploymentRecord, "processes">,
  formation: Formation,
  { process, count }: { process: string; count: number },
): number {
  const now = formation.processes[process]?.count ?? 0;
  return Math.max(0, now + count - (processes[process]?.wanted ?? now));
}

/** The deployment with other counts to reach, and to go back to. */
export function scaledWhilePaused(
  deployment: DeploymentRecord,
  next: Formation,
  counts: Readonly<Record<string, { count: number }>>,
): DeploymentRecord {
  const processes = { ...deployment.processes };
  const before = { ...deployment.before };
  for (const [name, { count }] of Object.entries(counts)) {
    const shown = processes[name];
    if (shown !== undefined) processes[name] = { ...shown, wanted: count };
    before[name] = { tags: next.processes[name]?.tags ?? {}, count };
  }
  return { ...deployment, processes, before };
}

// The rules of `flynn scale`: its words, and when a formation is reached. Pure.
import type { Formation } from "#api/apps.ts";
import { type Deployment, hasEnded } from "#api/deployments.ts";
import { Fault } from "#api/fault.ts";
import { isEnded, type Job } from "#api/jobs.ts";

export type ScaleWish = Record<string, { count: number; tags?: Record<string, string> }>;

/** `web=3`, `worker=1,zone=a,ssd=yes`; a comma with nothing after it (`web=3,`) takes the tags away. */
export function parseScale(words: readonly string[]): ScaleWish {
  const wish = new Map<string, ScaleWish[string]>();
  for (const word of words) {
    const [first = "", ...tagWords] = word.split(",");
    const match = /^([a-z][a-z0-9_-]{0,29})=(\d{1,5})$/.exec(first);
    if (match === null || Number(match[2]) > 10_000)
      throw new Fault(
        "invalid",
        `${word}: write a process and how many jobs, 0 to 10000, such as web=3 or worker=1,zone=a`,
      );
    const name = match[1]!;
    if (wish.has(name)) throw new Fault("invalid", `${name} was given more than once`);
    const tags = tagWords.filter(Boolean).map((tag) => {
      const equals = tag.indexOf("=");
      if (equals < 1) throw new Fault("invalid", `${word}: write a tag as name=value`);
      return [tag.slice(0, equals), tag.slice(equals + 1)] as const;
    });
    wish.set(name, { count: Number(match[2]), ...(tagWords.length > 0 ? { tags: Object.fromEntries(tags) } : {}) });
  }
  return Object.fromEntries(wish);
}

/** A formation in words that `flynn scale` takes again. */
export function formatScale({ processes }: Pick<Formation, "processes">): string {
  return Object.entries(processes)
    .map(([name, { count, tags }]) =>
      [`${name}=${count}`, ...Object.entries(tags).map(([tag, value]) => `${tag}=${value}`)].join(","),
    )
    .join(" ");
}

export interface ScaleStanding {
  done: boolean;
  /** What is still missing, in plain words; empty when done. */
  missing: string[];
}

/** Reached: of each process asked for, so many jobs of the release are up, and no other lives. */
export function standing(
  jobs: readonly Job[],
  formation: Pick<Formation, "releaseId" | "processes">,
  asked: readonly string[],
): ScaleStanding {
  const missing = asked.flatMap((process) => {
    const wanted = formation.processes[process]?.count ?? 0;
    const live = jobs.filter((job) => job.process === process && !isEnded(job));
    const kept = live.filter(({ desired, releaseId }) => desired === "run" && releaseId === formation.releaseId);
    const up = kept.filter(({ state }) => state === "up").length;
    const ending = live.length - kept.length;
    const why = kept.find(({ state, reason }) => state !== "up" && reason !== "");
    return [
      ...(up < wanted
        ? [`${process}: ${up} of ${wanted} up${why ? ` (${why.id} is ${why.state}: ${why.reason})` : ""}`]
        : []),
      ...(kept.length > wanted || ending > 0
        ? [`${process}: ${kept.length - Math.min(kept.length, wanted) + ending} still to stop`]
        : []),
    ];
  });
  return { done: missing.length === 0, missing };
}

/** What came in between: `taken` along by a deployment, or `undone` by whoever asked for other counts after us. */
export type Overtaken = { type: "taken" | "undone"; words: string };

/**
 * Scaling is refused while the app is deployed, so a deployment that has not ended began after ours and starts from our counts,
 * unless it was given its own. Undefined: ours is still what is wanted.
 */
export function overtaken(
  ours: Pick<Formation, "processes">,
  asked: readonly string[],
  {
    app,
    formation,
    deployment,
  }: { app: string; formation: Pick<Formation, "processes">; deployment: Deployment | undefined },
): Overtaken | undefined {
  const counts = (of: (process: string) => number | undefined) =>
    asked.flatMap((process) => {
      const [wanted, now] = [ours.processes[process]?.count ?? 0, of(process)];
      return now === undefined || now === wanted ? [] : [`${process}=${now}`];
    });
  const ended = deployment === undefined || hasEnded(deployment);
  if (!ended && deployment.goingBack === undefined) {
    const other = counts((process) => deployment.processes[process]?.wanted);
    const follow = `follow it: flynn -a ${app} deployment show ${deployment.id} -f`;
    if (other.length === 0)
      return {
        type: "taken",
        words: `v${deployment.toVersion} is being deployed and takes these counts along; ${follow}`,
      };
    return { type: "undone", words: `v${deployment.toVersion} is being deployed with ${other.join(" ")}; ${follow}` };
  }
  if (!ended) return undefined; // it goes back to our counts
  const other = counts((process) => formation.processes[process]?.count ?? 0);
  if (other.length === 0) return undefined;
  return {
    type: "undone",
    words: `${app} was scaled to ${other.join(" ")} meanwhile; see who did: flynn -a ${app} log`,
  };
}

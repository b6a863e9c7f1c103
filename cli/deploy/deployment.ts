// Watching a deployment to its end. It lives on the server: a client that goes away changes nothing.
import type { Client } from "#api/client.ts";
import { type Deployment, getDeployment, hasEnded } from "#api/deployments.ts";
import { Fault, isFault } from "#api/fault.ts";
import { logLine } from "../jobs/log-line.ts";
import { progress } from "../output/progress.ts";
import type { Cli } from "../parse/command.ts";

/** Control may be restarted under a deployment: so long it may be away. */
const AWAY_MOST_MS = 60_000;

export interface FollowOptions {
  client: Client;
  cli: Cli;
  app: string;
  id: string;
}

/** What came of it, as people read it. */
export const deployedWords = ({ toVersion, pausedAt, step }: Deployment, app: string): string =>
  pausedAt === undefined
    ? `Deployed v${toVersion} of ${app}`
    : `v${toVersion} of ${app} waits, ${step}; to go on: flynn -a ${app} deployment resume; to go back: flynn -a ${app} deployment cancel`;

/** Says each step in plain words; resolves with the complete deployment, or with one that pauses; else throws with the reason (and prints the log tail). */
export async function followDeployment({ client, cli, app, id }: FollowOptions): Promise<Deployment> {
  const shown = progress(cli);
  const stop = new AbortController();
  const signal = AbortSignal.any([cli.signal, stop.signal]);
  let brokeMs: number | undefined;
  const onBreak = (error: unknown) => {
    if (isFault(error) && !error.retry && error.code !== "gone") throw error;
    brokeMs ??= performance.now();
    if (performance.now() - brokeMs > AWAY_MOST_MS)
      throw new Fault(
        "unavailable",
        `the cluster went away; the deployment goes on there: flynn -a ${app} deployment show ${id}`,
        { cause: error },
      );
    shown.step("the cluster does not answer; trying again");
  };
  try {
    for await (const { event, data } of client.follow(getDeployment, { params: { app, id }, signal, onBreak })) {
      if (event !== "item" || data === undefined) continue;
      brokeMs = undefined;
      const why = data.goingBack === undefined ? "" : `${data.goingBack}: ${data.reason}; `;
      if (data.step !== "" && !hasEnded(data)) shown.step(`v${data.toVersion}: ${why}${data.step}`);
      if (data.pausedAt !== undefined && data.goingBack === undefined && !hasEnded(data)) {
        shown.end();
        return data;
      }
      if (!hasEnded(data)) continue;
      shown.end();
      return ended(data, cli, app);
    }
    throw new Fault("unavailable", `the deployment goes on: flynn -a ${app} deployment show ${id}`);
  } finally {
    shown.end();
    stop.abort();
  }
}

function ended(deployment: Deployment, cli: Cli, app: string): Deployment {
  const { state, toVersion, reason, logTail, step } = deployment;
  if (state === "complete") return deployment;
  for (const line of logTail) cli.say(logLine(line, { plainText: cli.terminal.err, colour: cli.colour.err }));
  const after = step === "" ? "" : ` (${step})`;
  throw new Fault(
    "internal",
    `v${toVersion} of ${app} ${state === "failed" ? "failed" : "was cancelled"}: ${reason || "no reason was given"}${after}; more: flynn -a ${app} log`,
  );
}

// Watching a deployment to its end. It lives on the server: a client that goes away changes nothing.
import type { Client } from "#api/client.ts";
import { type Deployment, getDeployment, hasEnded } from "#api/deployments.ts";
import { Fault } from "#api/fault.ts";
import { logLine } from "../jobs/log-line.ts";
import { followToEnd } from "../output/follow-to-end.ts";
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
export function followDeployment({ client, cli, app, id }: FollowOptions): Promise<Deployment> {
  return followToEnd<Deployment, Deployment>({
    cli,
    awayMostMs: AWAY_MOST_MS,
    goesOn: `the deployment goes on there: flynn -a ${app} deployment show ${id}`,
    stream: (how) => client.follow(getDeployment, { params: { app, id }, ...how }),
    each(deployment, shown) {
      const { goingBack, reason, step, toVersion, pausedAt } = deployment;
      if (hasEnded(deployment)) {
        shown.end();
        return ended(deployment, cli, app);
      }
      const why = goingBack === undefined ? "" : `${goingBack}: ${reason}; `;
      if (step !== "") shown.step(`v${toVersion}: ${why}${step}`);
      return pausedAt !== undefined && goingBack === undefined ? deployment : undefined;
    },
  });
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

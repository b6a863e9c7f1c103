// restart: one request; what is done is the cluster's, watching it is ours.

import type { Client } from "#api/client.ts";
import { type Job, listJobs, restartApp } from "#api/jobs.ts";
import { newId } from "#lib/ids.ts";
import { until } from "#lib/time.ts";
import { appName } from "../apps/app.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { followDeployment } from "../deploy/deployment.ts";
import { chooseJob } from "../jobs/job-names.ts";
import { answer } from "../output/answer.ts";
import type { Command, Invocation } from "../parse/command.ts";

const REPLACED_WITHIN_MS = 180_000;

export const restartCommands: readonly Command[] = [
  {
    words: "restart",
    summary: "Start an app's jobs anew: all, those of one process, or one",
    more: [
      "  flynn restart             every process, by a deployment of a new, identical release: each old job stays until a new one serves",
      "  flynn restart worker      the jobs of one process; others start in their place",
      "  flynn restart web.1       one job: by its place in its process, its id, or the beginning of its id",
      "",
      "Where no other job of the process serves meanwhile, the whole app is deployed again instead, so that no request is lost.",
    ].join("\n"),
    args: [{ name: "PROCESS|JOB" }],
    flags: [{ name: "detach", help: "Do not wait until new jobs are up" }],
    run: (call) => withCluster(call, (client) => restart(client, call)),
  },
];

async function restart(client: Client, call: Invocation): Promise<void> {
  const { cli } = call;
  const app = await appName(call);
  const params = { app };
  const [word] = call.args;
  const jobs = async (): Promise<Job[]> => listAll(client, listJobs, { params, signal: cli.signal });
  const before = word === undefined ? [] : await jobs();
  const body = wishOf(before, word);
  const done = await client.call(restartApp, { params, body, idempotencyKey: newId("restart"), signal: cli.signal });
  const what = word === undefined ? app : `${word} of ${app}`;
  if (done.deploymentId !== undefined) {
    if (word !== undefined)
      cli.say(
        `no other job serves while ${word} restarts: all of ${app} is deployed again, so that no request is lost`,
      );
    cli.say(`deploying v${done.version} of ${app}: restart`);
    if (!call.on("detach")) await followDeployment({ client, cli, app, id: done.deploymentId });
    return answer(cli, done, () =>
      cli.print(
        call.on("detach") ? `Deploying v${done.version} of ${app}` : `${what} restarted: v${done.version} of ${app}`,
      ),
    );
  }
  if (done.jobs.length === 0)
    return answer(cli, done, () => cli.print(`${what} has no jobs; start some: flynn -a ${app} scale ${word}=1`));
  cli.say(`restarting ${done.jobs.join(", ")}`);
  if (!call.on("detach"))
    await until(async () => replaced(before, await jobs(), done.jobs), {
      what: `${done.jobs.length === 1 ? "a new job" : "new jobs"} in the place of ${done.jobs.join(", ")}; see: flynn -a ${app} ps`,
      timeoutMs: REPLACED_WITHIN_MS,
      everyMs: 500,
      signal: cli.signal,
    });
  const count = done.jobs.length === 1 ? "one job" : `${done.jobs.length} jobs`;
  answer(cli, done, () => cli.print(`${what} ${call.on("detach") ? "restarts" : "restarted"}: ${count}`));
}

/** A process by its name; a job in any of the ways that jobs are named. Pure. */
export function wishOf(jobs: readonly Job[], word: string | undefined): { process?: string; job?: string } {
  if (word === undefined) return {};
  const named = /^job-|\.\d+$/.test(word);
  return named ? { job: chooseJob(jobs, word).id } : { process: word };
}

/** As many as before are up of each process that lost some, and none of those that were stopped. Pure. */
export function replaced(before: readonly Job[], now: readonly Job[], stopped: readonly string[]): boolean {
  const running = (jobs: readonly Job[], process: string) =>
    jobs.filter((job) => job.process === process && job.task === undefined && job.desired === "run");
  const processes = new Set(before.filter(({ id }) => stopped.includes(id)).map(({ process }) => process));
  return [...processes].every((process) => {
    const up = running(now, process).filter(({ id, state }) => state === "up" && !stopped.includes(id));
    return up.length >= running(before, process).length;
  });
}

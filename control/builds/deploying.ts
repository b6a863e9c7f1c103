// The last part of a push's text: the deployment of what was built, told as it goes on, with the release phase's output.
import type { Deployment } from "#api/deployments.ts";
import type { HttpRoute } from "#api/routes.ts";
import { isLive, isPaused } from "../deploy/record.ts";
import { plainText } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import type { Look } from "./look.ts";
import { bang, detail, outcome, step } from "./words.ts";

export type Deployed =
  | { type: "wait"; reason: string }
  | { type: "live" }
  | { type: "ended"; state: "failed" | "cancelled"; reason: string };

const RELEASE_LINES_MOST = 1_000;
/** Every host is asked for its lines. */
const RELEASE_LOOK_MS = 2_000;
const NOT_LISTENING = /^web: .*(?:nothing listens on port (\d+)|port (\d+) does not answer)/;
const QUIET_MS = 15_000;
const STARTING = step("Starting processes");

export async function watchDeployment(look: Look): Promise<Deployed> {
  const { context, build, log, deployments, app } = look;
  const { store } = context;
  const deployment = deployments.get(build.appId, build.deploymentId ?? "")?.value;
  const release = store.get<ReleaseRecord>(keys.release(build.appId, build.releaseId ?? ""))?.value;
  if (deployment === undefined || release === undefined)
    return { type: "ended", state: "failed", reason: "its deployment is gone from control's state" };
  const version = `v${deployment.toVersion}`;
  await log.writeOnce(step(`Deploying ${version}`));
  if (release.processes["release"] !== undefined)
    await log.writeOnce(
      bang("Release command declared: this new release will not be available until the command succeeds."),
    );
  if (deployment.releaseJobId !== undefined) await tellReleasePhase(look, deployment);
  const { state } = deployment;
  const live = isLive(deployment);
  if (live || state === "complete") {
    await tellProgress(look, deployment);
    await log.writeOnce(
      `${outcome(`${app.value.name} ${version} deployed`)}${whereOf(look, release).map(detail).join("")}`,
    );
    return { type: "live" };
  }
  const ahead = deployments.running(build.appId);
  if (state === "pending" && ahead !== undefined && ahead.id !== deployment.id && isPaused(ahead)) {
    const { name } = app.value;
    await log.writeOnce(
      bang(`${name} ${version} waits: v${ahead.toVersion} is paused, and somebody has to say how it goes on`) +
        detail(`to go on: flynn -a ${name} deployment resume; to go back: flynn -a ${name} deployment cancel`),
    );
    return { type: "live" };
  }
  if (isPaused(deployment)) {
    await tellProgress(look, deployment);
    const { name } = app.value;
    const next = `to go on: flynn -a ${name} deployment resume; to go back: flynn -a ${name} deployment cancel`;
    await log.writeOnce(`${outcome(`${name} ${version} waits, ${deployment.step}`)}${detail(next)}`);
    return { type: "live" };
  }
  if (state === "pending" || state === "running") {
    if (state === "running") {
      await tellProgress(look, deployment);
      await tellQuiet(look, deployment);
    }
    return { type: "wait", reason: deployment.step };
  }
  // The release phase's lines were told as they came.
  const tail = deployment.logTail.filter(({ jobId }) => jobId !== deployment.releaseJobId);
  const own = tail.filter(({ source }) => source === "app");
  const lines = (own.length > 0 ? own : tail).map(({ line }) => detail(plainText(line)));
  if (lines.length > 0) await log.writeOnce(`${step("Last log lines")}${lines.join("")}`);
  const port = NOT_LISTENING.exec(deployment.reason)?.slice(1).find(Boolean);
  if (port !== undefined)
    await log.writeOnce(
      bang(`web is to listen on $PORT, which is ${port} here, on all addresses and not on 127.0.0.1 alone`),
    );
  const words = `${version} ${state === "failed" ? "failed" : "was cancelled"}: ${deployment.reason || "no reason was given"}`;
  const after = deployment.step === "" ? "" : ` (${deployment.step})`;
  return { type: "ended", state, reason: `${words}${after}` };
}

/** One line for each process whenever more of its jobs are healthy. */
async function tellProgress({ log }: Look, { processes, state }: Deployment): Promise<void> {
  for (const [name, { wanted, healthy }] of Object.entries(processes).sort()) {
    const up = state === "complete" ? wanted : Math.min(healthy, wanted);
    if (up === 0) continue;
    await log.writeOnce(STARTING);
    await log.writeOnce(detail(`${name}: ${up} of ${wanted} up`));
  }
}

/** What is waited for, once, when nothing came up for a while: a push is not to stand silent for minutes. */
async function tellQuiet(look: Look, { id, step: doing }: Deployment): Promise<void> {
  if (look.clock.since(`deployment ${id}`) < QUIET_MS || doing === "") return;
  if (!(await logText(look)).includes(STARTING)) await look.log.writeOnce(`${STARTING}${detail(plainText(doing))}`);
}

const RUNNING = step("Running the release command");

/** Its output so far, each line once: how much is told already is counted in the log itself. */
async function tellReleasePhase(look: Look, { releaseJobId }: Deployment): Promise<void> {
  const { log, app, appLog, build, tasks, clock } = look;
  await log.writeOnce(RUNNING);
  const runs = tasks.get(build.appId, releaseJobId!)?.ended === false;
  if (runs && !clock.due("release output", RELEASE_LOOK_MS)) return;
  const lines = await appLog(app.value, { jobId: releaseJobId!, lines: RELEASE_LINES_MOST }).catch(() => []);
  const text = await logText(look);
  const after = text.slice(text.indexOf(RUNNING) + RUNNING.length);
  if (after.includes(STARTING)) return; // the phase is over and told
  const told = after === "" ? 0 : after.split("\n").length - 1;
  const fresh = lines.filter(({ source }) => source === "app").slice(told);
  if (fresh.length > 0) await log.write(fresh.map(({ line }) => detail(plainText(line, 2_000))).join(""));
}

export async function logText({ log }: Look): Promise<string> {
  const size = await log.sizeBytes();
  const from = Math.max(0, size - 1024 ** 2);
  return (await log.read(from, size - from)).text;
}

/** Where it answers; for an app that would and that nothing leads to yet, what makes it. */
function whereOf(look: Look, release: ReleaseRecord): string[] {
  const urls = urlsOf(look);
  if (urls.length > 0 || release.processes["web"] === undefined) return urls;
  return [`No domain leads to it yet: flynn -a ${look.app.value.name} route add http DOMAIN`];
}

function urlsOf({ context, build }: Look): string[] {
  return context.store
    .list<HttpRoute>(PREFIX.routes)
    .map(({ value }) => value)
    .filter(({ appId, domain }) => appId === build.appId && typeof domain === "string")
    .map(({ domain, path, tls }) => `${tls === undefined ? "http" : "https"}://${domain}${path}`)
    .sort();
}

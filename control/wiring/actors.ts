// What acts: decides, writes records, asks hosts. Each by itself; what one has to know of another it is given.

import { createAlerts } from "../alerts/alerts.ts";
import { controlCertificates } from "../alerts/own-certificates.ts";
import type { TlsIdentity } from "../api-server.ts";
import { runningBuilds } from "../builds/running.ts";
import type { Context } from "../context.ts";
import { deployments } from "../deploy/deployments.ts";
import { watchExternal } from "../external/health.ts";
import { createGit } from "../git/git.ts";
import { hostClients } from "../host-clients.ts";
import { accessTokens } from "../identity/tokens.ts";
import { createLogDrains } from "../log-drains/log-drains.ts";
import { logs } from "../logs/logs.ts";
import { type Loops, loops } from "../loops.ts";
import { machineOrders } from "../machine-orders/book.ts";
import { machineFollower } from "../machine-state.ts";
import { hostsBehind, onProof } from "../network/enforcement.ts";
import { power } from "../power/power.ts";
import { storeImage } from "../routes/artifacts.ts";
import { createHostLoop } from "../scheduler/host-loop.ts";
import { createScheduler } from "../scheduler/scheduler.ts";
import { createTasks } from "../tasks/tasks.ts";
import { type ControlParts, monotonicMs } from "./context.ts";
import type { Follower } from "./followers.ts";
import type { Views } from "./views.ts";

const FAILED_JOBS_SHOWN = 3;
const FAILED_LINES_SHOWN = 30;

export function createActors(context: Context, parts: ControlParts, { routes, routers, served }: Views) {
  const { store, log, config, presence } = context;
  const { images, authority, identity } = parts;
  const tasks = createTasks(context);
  const scheduler = createScheduler({
    store,
    log,
    isDrained: (job, drainSeq) => routers.areHeard() && served.isDrained(job, drainSeq),
  });
  const hostLoop = createHostLoop({ store, log, presence, scheduler, ttlMs: config.hostLostAfterMs });
  const orders = machineOrders(context, { monotonicMs });
  const switching = power(context, orders);
  const hosts = hostClients(context, identity);
  const archive = logs(context, hosts);
  const external = watchExternal(context, parts.external);
  const logDrains = createLogDrains(context, archive);
  const deployer = deployments(context, {
    tasks,
    whyWaiting: (job) => scheduler.whyWaiting(job),
    routersServe: (coming) => routers.areHeard() && served.serve(coming),
    hostsBehind: (appId) => hostsBehind(context, appId),
    onReport: (listener) => onProof(presence, listener),
    logTail: async (app, jobIds) => {
      const shown = jobIds.slice(0, FAILED_JOBS_SHOWN);
      const tails = shown.map((jobId) => archive.tail(app, { jobId, lines: FAILED_LINES_SHOWN }));
      return (await Promise.all(tails)).flatMap(({ items }) => items);
    },
  });
  const builds = runningBuilds(context, {
    tasks,
    deployments: deployer,
    images,
    appLog: async (app, requested) => (await archive.tail(app, requested)).items,
  });
  const git = createGit(context, builds);
  const kept: Loops = loops({ log, store });
  const certificatesOf = (shown: TlsIdentity) => controlCertificates(shown.certificate, authority.caPem);
  let ownCertificates = certificatesOf(identity);
  const alerts = createAlerts(context, {
    monotonicMs,
    sources: {
      brake: () => hostLoop.brake(),
      registryProblem: () => images.problem(),
      snapshotProblem: () => store.snapshotProblem,
      failingLoops: kept.failing,
      failingApps: () => scheduler.status().failing,
      ownCertificates: () => ownCertificates,
      routing: () => ({ term: store.term, generation: routes.lastGeneration() }),
    },
  });
  const followers: Follower[] = [
    { name: "machines of lost hosts", take: machineFollower(context) },
    { name: "scheduler", take: scheduler.apply, reads: ["indexes", "what routers serve"] },
    { name: "alerts", take: alerts.apply, reads: ["indexes"] },
  ];
  return {
    ...{
      tasks,
      scheduler,
      hostLoop,
      hosts,
      archive,
      external,
      logDrains,
      deployer,
      builds,
      git,
      kept,
      alerts,
      orders,
      switching,
    },
    tokens: accessTokens(context),
    image: storeImage(context, images),
    followers,
    useIdentity(next: TlsIdentity) {
      ownCertificates = certificatesOf(next);
      hosts.useIdentity(next);
    },
  };
}

export type Actors = ReturnType<typeof createActors>;

// Puts control together from its opened state: the routes on the API, and the loops that act. main opens and listens, tests
// do the same over a store of their own; both get this wiring.
import type { FastifyInstance } from "fastify";
import type { Endpoint } from "#api/endpoint.ts";
import type { RouterReport } from "#api/routes.ts";
import type { Log } from "#lib/log.ts";
import { every } from "#lib/time.ts";
import { VERSION } from "#lib/version.ts";
import { apiServer, type TlsIdentity } from "./api-server.ts";
import { runningBuilds } from "./builds/running.ts";
import type { ControlConfig } from "./config.ts";
import type { Context } from "./context.ts";
import { deployments } from "./deploy/deployments.ts";
import { createDrains } from "./drains/drains.ts";
import { createGit } from "./git/git.ts";
import { hostClients } from "./host-clients.ts";
import type { Authority } from "./identity/authority.ts";
import { imageSweeper } from "./image-sweep.ts";
import { jobIndex } from "./job-index.ts";
import { PREFIX } from "./keys.ts";
import type { LocalDocker } from "./local-docker.ts";
import { eventLines, lostLines } from "./logs/event-lines.ts";
import { logs } from "./logs/logs.ts";
import { openOwnLog } from "./logs/own-log.ts";
import { followHosts } from "./machine-state.ts";
import { socketMounter } from "./mount-socket.ts";
import { presence } from "./presence.ts";
import type { MemberRecord } from "./records.ts";
import type { Registry } from "./registry.ts";
import { retentionLoop } from "./retention.ts";
import { mountApps } from "./routes/apps.ts";
import { mountArtifacts, storeImage } from "./routes/artifacts.ts";
import { mountBoot } from "./routes/boot.ts";
import { mountBuilds } from "./routes/builds.ts";
import { mountCertificates } from "./routes/certificates.ts";
import { mountDeployments } from "./routes/deployments.ts";
import { mountDrains } from "./routes/drains.ts";
import { mountGit } from "./routes/git.ts";
import { mountHosts } from "./routes/hosts.ts";
import { mountJobs } from "./routes/jobs.ts";
import { mountKeys } from "./routes/keys.ts";
import { mountLogs } from "./routes/logs.ts";
import { mountMachines } from "./routes/machines.ts";
import { mountPages } from "./routes/pages.ts";
import { mountRouters } from "./routes/routers.ts";
import { mountRoutes } from "./routes/routes.ts";
import { mountServices } from "./routes/services.ts";
import { mountSessions } from "./routes/sessions.ts";
import { mountStack } from "./routes/stack.ts";
import { mountStatus } from "./routes/status.ts";
import { certificateOwner } from "./routing/certificates.ts";
import { createHostLoop } from "./scheduler/host-loop.ts";
import { createScheduler } from "./scheduler/scheduler.ts";
import type { Secrets } from "./secrets.ts";
import { sessionTickets } from "./sessions/tickets.ts";
import type { Store } from "./store/store.ts";
import { isAcknowledged, isDrained } from "./targets/drained.ts";
import { routing } from "./targets/generation.ts";
import { createTasks } from "./tasks/tasks.ts";

/**
 * Longer than the longest pause of a supervisor before it starts a dead router program again (15 s): HAProxy serves on meanwhile
 * with what it was told last, and a job it still knows must not go, or its address comes to be another app's.
 */
const ROUTER_ALIVE_MS = 20_000;

/** Silence just after a start is not death: until each router was heard, or had its time, nothing follows from what is missing. */
const routersHeard = ({ store, presence }: Context, sinceStartMs: number): boolean =>
  sinceStartMs >= ROUTER_ALIVE_MS ||
  store.list<MemberRecord>(PREFIX.routers).every(({ value }) => presence.routers.has(value.id));

/** Lines of apps that are gone go an hour later. */
async function pruneOwnLog({ store, ownLog }: Context, signal: AbortSignal): Promise<void> {
  for await (const _ of every(600_000, signal)) {
    const names = store.list(PREFIX.appNames).map(({ key }) => key.slice(PREFIX.appNames.length));
    await ownLog.prune(new Set(names), Date.now() - 3_600_000);
  }
}

export interface ControlParts {
  store: Store;
  config: ControlConfig;
  authority: Authority;
  secrets: Secrets;
  log: Log;
  /** What the API and its calls to hosts show. */
  identity: TlsIdentity;
  images: Registry;
  docker: LocalDocker;
  /** Addresses that hosts and people reach control by; the first is the main one. */
  addresses: readonly string[];
}

export interface Control {
  app: FastifyInstance;
  mounted: readonly Endpoint[];
  context: Context;
  /** A new certificate for the API and for calls to hosts; nothing under way is interrupted. */
  useIdentity(identity: TlsIdentity): void;
  /** Runs every loop until the signal aborts; throws what ended one of them. Closing the API is the caller's. */
  run(signal: AbortSignal): Promise<void>;
  /** Ends the API and every open stream. The store is the caller's. */
  close(): Promise<void>;
}

export function wireControl(parts: ControlParts): Control {
  const { store, config, authority, secrets, log, identity, images, docker, addresses } = parts;
  const now = () => new Date();
  const monotonicMs = () => performance.now();
  const jobs = jobIndex(store);
  store.onDurable((record) => jobs.apply(record)); // first of all listeners: the others read the index
  const context: Context = {
    store,
    config,
    authority,
    secrets,
    log,
    jobs,
    now,
    ownLog: openOwnLog({ stateDir: config.stateDir, log }),
    presence: presence({ monotonicMs, now }),
    registry: config.registry || `${addresses[0]}:5000`,
    controlUrls: addresses.map((address) => `https://${address}:${config.port}`),
    startedAt: now().toISOString(),
  };
  const lost = new Set<string>();
  store.onDurable((record) => {
    for (const line of [...eventLines(record), ...lostLines(record, lost)]) context.ownLog.write(line);
  });
  const tasks = createTasks(context);
  const routes = routing(store, (sealed, id) => {
    try {
      return secrets.open(sealed, certificateOwner(id));
    } catch (error) {
      log.error({ err: error, certificate: id }, "a certificate's key cannot be opened, it is left out");
      return undefined;
    }
  });
  const liveRouters = (): RouterReport[] =>
    [...context.presence.routers.values()]
      .filter(({ atMs }) => monotonicMs() - atMs < ROUTER_ALIVE_MS)
      .map(({ report }) => report);
  const startedMs = monotonicMs();
  const heardRouters = () => routersHeard(context, monotonicMs() - startedMs);
  const scheduler = createScheduler({
    store,
    log,
    isDrained: (job, drainSeq) => {
      const drainingMs = Date.now() - Date.parse(job.drainingSince ?? "");
      if (drainingMs < config.drainTimeoutMs && !heardRouters()) return false;
      const [target, routers] = [routes.current(), liveRouters()];
      return isDrained({ job, drainSeq, target, routers, drainingMs, drainTimeoutMs: config.drainTimeoutMs });
    },
  });
  const hostLoop = createHostLoop({ store, log, presence: context.presence, scheduler, ttlMs: config.hostLostAfterMs });
  const hosts = hostClients(context, identity);
  const archive = logs(context, hosts);
  const drains = createDrains(context, archive);
  const deployer = deployments(context, {
    tasks,
    routersAcknowledged: () => heardRouters() && isAcknowledged(routes.current(), liveRouters()),
    onRouterReport: (listener) =>
      context.presence.onFrame((id) => {
        if (context.presence.routers.has(id)) listener();
      }),
    logTail: async (app, jobIds) =>
      (await Promise.all(jobIds.slice(0, 3).map((jobId) => archive.tail(app, { jobId, lines: 30 })))).flatMap(
        ({ items }) => items,
      ),
  });

  const builds = runningBuilds(context, {
    tasks,
    deployments: deployer,
    images,
    appLog: async (app, wish) => (await archive.tail(app, wish)).items,
  });

  const git = createGit(context, builds);

  const { app, mount, mounted, useIdentity } = apiServer(context, identity);
  const tickets = sessionTickets({ monotonicMs });
  const mountSocket = socketMounter({ app, mount, store, tickets, log });
  const image = storeImage(context, images);
  mountStatus(mount, context, {
    version: VERSION,
    monotonicMs,
    more: async () => {
      const problem = await images.problem();
      const brake = hostLoop.brake();
      const { blocked, differencesSinceStart } = scheduler.status();
      return [
        {
          name: "registry",
          state: problem === undefined ? "ok" : "down",
          message: problem ?? `answers at ${context.registry}`,
        },
        {
          name: "scheduler",
          state: brake.on || differencesSinceStart > 0 ? "degraded" : "ok",
          message: brake.on
            ? `brake: ${brake.waiting} hosts were lost together; their jobs are left alone`
            : blocked > 0
              ? `${blocked} apps have jobs that wait for room`
              : "nothing waits",
        },
      ];
    },
  });
  mountMachines(mount, context);
  mountBoot(mount, context);
  mountHosts(mount, context);
  mountRouters(mount, context, routes);
  mountApps(mount, context, { deployments: deployer });
  mountSessions(context, { mount, mountSocket, tickets, tasks, hosts });
  mountJobs(mount, context, { tasks, explain: (job) => scheduler.explain(job) });
  mountArtifacts(mount, context, image);
  mountBuilds(mount, context, builds);
  mountGit(mount, store, git);
  mountKeys(mount, git.keys);
  git.mount(app);
  mountStack(mount, context, images);
  mountDeployments(mount, context, deployer);
  mountLogs(mount, context, archive);
  mountDrains(mount, context, drains);
  mountRoutes(mount, context);
  mountCertificates(mount, context);
  mountPages(mount, context);
  mountServices(mount, context, { deployments: deployer, logs: archive, image, docker });

  return {
    app,
    mounted,
    context,
    useIdentity(next) {
      useIdentity(next);
      hosts.useIdentity(next);
    },
    async run(signal) {
      const failed = new AbortController();
      const both = AbortSignal.any([signal, failed.signal]);
      const stopFollowing = followHosts(context);
      try {
        await Promise.all(
          [
            scheduler.run(both),
            hostLoop.run(both),
            deployer.run(both),
            drains.run(both),
            pruneOwnLog(context, both),
            builds.run(both),
            git.run(both),
            retentionLoop(store, { log, signal: both, images: imageSweeper({ store, images, log }) }),
          ].map((loop) => loop.catch((error: unknown) => failed.abort(error))),
        );
      } finally {
        stopFollowing();
      }
      if (failed.signal.aborted) throw failed.signal.reason;
    },
    async close() {
      await git.close(); // who waits for a build is told before the connections end
      await app.close();
      hosts.close();
      await context.ownLog.close();
    },
  };
}

// Puts control together from its opened state: the routes on the API, and the loops that act. main opens and listens, tests
// do the same over a store of their own; both get this wiring.
import { networkInterfaces } from "node:os";
import type { FastifyInstance } from "fastify";
import type { App } from "#api/apps.ts";
import type { Endpoint } from "#api/endpoint.ts";
import type { LocalDocker } from "#api/local-docker.ts";
import { type Hello, ownHello } from "#api/version.ts";
import { machineAddresses } from "#lib/address-ranges.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { every, unhurriedNow } from "#lib/time.ts";
import { createAlerts } from "./alerts/alerts.ts";
import { controlCertificates } from "./alerts/own-certificates.ts";
import { apiServer, type TlsIdentity } from "./api-server.ts";
import { installersOf } from "./builds/installers.ts";
import { runningBuilds } from "./builds/running.ts";
import type { ControlConfig } from "./config.ts";
import type { Context } from "./context.ts";
import { deployments } from "./deploy/deployments.ts";
import { diskPart, type Reading } from "./disk/floor.ts";
import { diskRoom } from "./disk/room.ts";
import { lasting, watchWriting } from "./disk/writing.ts";
import { type Dial, watchExternal } from "./external/health.ts";
import { createGit } from "./git/git.ts";
import { hostChanges } from "./host-changes.ts";
import { hostClients } from "./host-clients.ts";
import { hostFrames } from "./host-frames.ts";
import type { Authority } from "./identity/authority.ts";
import { growSubnets } from "./identity/grow-subnets.ts";
import { accessTokens } from "./identity/tokens.ts";
import { imageSweeper } from "./image-sweep.ts";
import { takeIn } from "./indexes.ts";
import { jobIndex } from "./job-index.ts";
import { keys, PREFIX } from "./keys.ts";
import { createLogDrains } from "./log-drains/log-drains.ts";
import { eventLines, lostLines } from "./logs/event-lines.ts";
import { logs } from "./logs/logs.ts";
import { openOwnLog } from "./logs/own-log.ts";
import { loops } from "./loops.ts";
import { followHosts } from "./machine-state.ts";
import { socketMounter } from "./mount-socket.ts";
import { enforcementOn, hostsEnforcing, lateHosts, networkPart } from "./network/enforcement.ts";
import { keepOwnAddresses } from "./network/own-addresses.ts";
import { reaches } from "./network/reaches.ts";
import { presence } from "./presence.ts";
import type { HostRecord, MemberRecord } from "./records.ts";
import type { Registry } from "./registry.ts";
import { mountQuarantine } from "./restored.ts";
import { retentionLoop } from "./retention.ts";
import { mountAlerts } from "./routes/alerts.ts";
import { mountApps } from "./routes/apps.ts";
import { mountArtifacts, storeImage } from "./routes/artifacts.ts";
import { mountBoot } from "./routes/boot.ts";
import { mountBuilds } from "./routes/builds.ts";
import { mountCertificates } from "./routes/certificates.ts";
import { mountDeployments } from "./routes/deployments.ts";
import { mountDisks } from "./routes/disks.ts";
import { mountExternalServices } from "./routes/external-services.ts";
import { mountGit } from "./routes/git.ts";
import { mountHosts } from "./routes/hosts.ts";
import { mountJobs } from "./routes/jobs.ts";
import { mountKeys } from "./routes/keys.ts";
import { mountLogDrains } from "./routes/log-drains.ts";
import { mountLogs } from "./routes/logs.ts";
import { mountMachines } from "./routes/machines.ts";
import { mountNetwork } from "./routes/network.ts";
import { mountPages } from "./routes/pages.ts";
import { mountRestart } from "./routes/restart.ts";
import { mountRouters } from "./routes/routers.ts";
import { mountRoutes } from "./routes/routes.ts";
import { mountServices } from "./routes/services.ts";
import { mountSessions } from "./routes/sessions.ts";
import { mountStack } from "./routes/stack.ts";
import { mountStatus } from "./routes/status.ts";
import { mountTokens } from "./routes/tokens.ts";
import { certificateOwner } from "./routing/certificates.ts";
import { portRange } from "./routing/claims.ts";
import { createHostLoop } from "./scheduler/host-loop.ts";
import { createScheduler } from "./scheduler/scheduler.ts";
import type { Secrets } from "./secrets.ts";
import { sessionTickets } from "./sessions/tickets.ts";
import type { Store } from "./store/store.ts";
import { routing } from "./targets/generation.ts";
import { hostFeeds } from "./targets/host-feeds.ts";
import { routed } from "./targets/routed.ts";
import { createTasks } from "./tasks/tasks.ts";

/**
 * Longer than the longest pause of a supervisor before it starts a dead router program again (15 s): HAProxy serves on meanwhile
 * with what it was told last, and a job it still knows must not go, or its address comes to be another app's.
 */
const ROUTER_ALIVE_MS = 20_000;

/** Silence just after a start is not death: until each router was heard, or had its time, nothing follows from what is missing. */
const routersHeard = ({ store, presence }: Context, sinceStartMs: number, aliveMs: number): boolean =>
  sinceStartMs >= aliveMs ||
  store.list<MemberRecord>(PREFIX.routers).every(({ value }) => presence.routers.has(value.id));

/** Lines of apps that are gone go an hour later. */
async function pruneOwnLog({ store, ownLog }: Context, signal: AbortSignal): Promise<void> {
  for await (const _ of every(600_000, signal)) {
    const ids = store.list<App>(PREFIX.apps).map(({ value }) => value.id);
    await ownLog.prune(new Set(ids), unhurriedNow() - 3_600_000);
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
  /** Reads a file system's free space; the operating system's own unless given. */
  readDisk?: (path: string) => Promise<Reading>;
  /** IPv4 addresses of this machine; the operating system's own unless given. */
  readAddresses?: () => string[];
  /** Silence after which a router is not waited for, in milliseconds. */
  routerAliveMs?: number;
  /** How external services are looked at; over the network every ten seconds unless given. */
  external?: { dial?: Dial; everyMs?: number };
  /** What control says of itself; that of this version unless given. */
  hello?: Hello;
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
  const { store, config, authority, secrets, log, identity, images, docker, addresses, readDisk } = parts;
  const { readAddresses = () => machineAddresses(networkInterfaces()), routerAliveMs = ROUTER_ALIVE_MS } = parts;
  const now = () => new Date();
  const monotonicMs = () => performance.now();
  const jobs = jobIndex(store);
  const controlUrls = addresses.map((address) => `https://${address}:${config.port}`);
  const localAddresses = readAddresses();
  const reach = reaches({ store, config, controlUrls, monotonicMs, localAddresses });
  const context: Context = {
    store,
    config,
    authority,
    secrets,
    log,
    jobs,
    now,
    ownLog: openOwnLog({ stateDir: config.stateDir, log }),
    room: diskRoom({
      paths: [config.stateDir, config.registryDirectory].filter((path) => path !== ""),
      freeFloorBytes: config.freeFloorBytes,
      ...{ store, log, now },
      ...(readDisk ? { read: readDisk } : {}),
    }),
    presence: presence({
      monotonicMs,
      now,
      onError: (error) => log.error({ causes: causeChain(error) }, "a listener of members' frames failed"),
    }),
    reaches: reach,
    registry: config.registry || `${addresses[0]}:5000`,
    installers: installersOf(config),
    controlUrls,
    hello: parts.hello ?? ownHello("control"),
    startedAt: now().toISOString(),
  };
  const feeds = hostFeeds(context);
  const changed = hostChanges();
  // First of all listeners: the others read the indexes.
  store.onDurable(takeIn({ jobs, hostChanges: changed, feeds, reach }, log));
  const lost = new Set<string>();
  const appIdOf = ({ subject, app }: Parameters<Parameters<typeof eventLines>[1]>[0]) =>
    store.get(keys.app(subject)) === undefined ? store.get<string>(keys.appName(app ?? ""))?.value : subject;
  store.onDurable((record) => {
    for (const line of [...eventLines(record, appIdOf), ...lostLines(record, lost)]) context.ownLog.write(line);
  });
  const tasks = createTasks(context);
  const openKey = (sealed: string, id: string) => {
    try {
      return secrets.open(sealed, certificateOwner(id));
    } catch (error) {
      log.error({ err: error, certificate: id }, "a certificate's key cannot be opened, it is left out");
      return undefined;
    }
  };
  const routes = routing(store, { openKey, controlUrls, tcpPorts: portRange(config.tcpPorts) });
  // Before anybody asks, and in short turns.
  routes.settled().catch((error: unknown) => log.error({ causes: causeChain(error) }, "routes not worked out yet"));
  const startedMs = monotonicMs();
  const heardRouters = () => routersHeard(context, monotonicMs() - startedMs, routerAliveMs);
  const served = routed({
    store,
    monotonicMs,
    pool: (id) => routes.pool(id),
    generation: () => routes.current().generation,
    generationOf: routes.generationOf,
    drainTimeoutMs: config.drainTimeoutMs,
    routers: () => ({
      term: store.term,
      members: store.count(PREFIX.routers),
      live: [...context.presence.routers.values()]
        .filter(({ atMs }) => monotonicMs() - atMs < routerAliveMs)
        .map(({ report }) => report),
    }),
  });
  store.onDurable((record) => served.apply(record));
  const kept = loops({ log, store });
  // Whoever follows the store does so before anybody can change it: the API answers before the loops run.
  const stopFollowing = followHosts(context);
  const scheduler = createScheduler({
    store,
    log,
    isDrained: (job, drainSeq) => heardRouters() && served.isDrained(job, drainSeq),
  });
  const hostLoop = createHostLoop({ store, log, presence: context.presence, scheduler, ttlMs: config.hostLostAfterMs });
  const hosts = hostClients(context, identity);
  const archive = logs(context, hosts);
  const external = watchExternal(context, parts.external);
  const logDrains = createLogDrains(context, archive);
  const deployer = deployments(context, {
    tasks,
    whyWaiting: (job) => scheduler.whyWaiting(job),
    routersServe: (coming) => heardRouters() && served.serve(coming),
    hostsBehind: (appId) => {
      const hosts = [...reach.hostsOf(appId)].flatMap((id) => store.get<HostRecord>(keys.host(id))?.value ?? []);
      return lateHosts(
        hosts.map((host) => enforcementOn(host, context)),
        reach.changedSeq(appId),
      );
    },
    onReport(listener) {
      const { hosts, routers, onFrame } = context.presence;
      const enforced = new Map<string, number | undefined>();
      return onFrame((id) => {
        const version = hosts.get(id)?.report.reachVersion;
        if (!routers.has(id) && enforced.get(id) === version) return;
        enforced.set(id, version);
        listener();
      });
    },
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

  const tokens = accessTokens(context);
  const git = createGit(context, builds);

  const { app, mount, mounted, answerBeats, useIdentity } = apiServer(context, identity);
  const tickets = sessionTickets({ monotonicMs });
  const mountSocket = socketMounter({ app, mount, store, tickets, log });
  const image = storeImage(context, images);
  let ownCertificates = controlCertificates(identity.certificate, authority.caPem);
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
  mountAlerts(mount, alerts);
  mountQuarantine(mount, context);
  mountStatus(mount, context, {
    alerts,
    monotonicMs,
    more: async () => {
      const problem = await images.problem();
      const brake = hostLoop.brake();
      const { blocked, differencesSinceStart, failing } = scheduler.status();
      return [
        diskPart(await context.room.state()),
        {
          name: "registry",
          state: problem === undefined ? "ok" : "down",
          message: problem ?? `answers at ${context.registry}`,
        },
        {
          name: "scheduler",
          state: brake.on || differencesSinceStart > 0 || failing.length > 0 ? "degraded" : "ok",
          message: brake.on
            ? `brake: ${brake.waiting} hosts were lost together; their jobs are left alone`
            : failing.length > 0
              ? `app ${failing[0]!.appId} cannot be scheduled: ${failing[0]!.reason}${failing.length > 1 ? `; ${failing.length - 1} more` : ""}; it is tried again`
              : blocked > 0
                ? `${blocked} apps have jobs that wait for room`
                : "nothing waits",
        },
        ...kept.failing().map(({ name, reason }) => ({
          name: `loop ${name}`,
          state: "degraded" as const,
          message: `it failed and begins anew: ${reason}`,
        })),
        networkPart(reach.cluster(), hostsEnforcing(context)),
      ];
    },
  });
  mountMachines(mount, context);
  mountDisks(mount, context);
  mountBoot(mount, context);
  mountHosts(mount, context, { feeds, frames: hostFrames(context, changed), answerBeats, isFree: scheduler.isFree });
  mountRouters(mount, context, routes);
  mountApps(mount, context, { deployments: deployer });
  mountRestart(mount, context, { deployments: deployer });
  mountSessions(context, { mount, mountSocket, tickets, tasks, hosts });
  mountJobs(mount, context, {
    tasks,
    explain: (job) => scheduler.explain(job),
    whyWaiting: (job) => scheduler.whyWaiting(job),
  });
  mountArtifacts(mount, context, image);
  mountBuilds(mount, context, builds);
  mountGit(mount, store, git);
  mountKeys(mount, git.keys);
  mountTokens(mount, tokens);
  git.mount(app);
  mountStack(mount, context, images);
  mountDeployments(mount, context, deployer);
  mountLogs(mount, context, archive);
  mountLogDrains(mount, context, logDrains);
  mountRoutes(mount, context, deployer);
  mountNetwork(mount, context);
  mountCertificates(mount, context);
  mountPages(mount, context);
  mountServices(mount, context, { deployments: deployer, logs: archive, image, docker, external });
  mountExternalServices(mount, context, external);

  return {
    app,
    mounted,
    context,
    useIdentity(next) {
      ownCertificates = controlCertificates(next.certificate, authority.caPem);
      useIdentity(next);
      hosts.useIdentity(next);
    },
    async run(signal) {
      const failed = new AbortController();
      const both = AbortSignal.any([signal, failed.signal]);
      const addressesKept = (until: AbortSignal) =>
        keepOwnAddresses({ store, known: localAddresses, read: readAddresses, log, signal: until });
      const sweeper = imageSweeper({ store, images, log });
      const all: Record<string, (until: AbortSignal) => Promise<void>> = {
        scheduler: scheduler.run,
        hosts: hostLoop.run,
        deployments: deployer.run,
        drains: logDrains.run,
        alerts: alerts.run,
        logs: (until) => pruneOwnLog(context, until),
        disk: (until) => context.room.run(until),
        writing: (until) => watchWriting({ store, log, now, signal: until }),
        builds: (until) => builds.run(until),
        git: (until) => git.run(until),
        tokens: tokens.run,
        external: external.run,
        addresses: addressesKept,
        subnets: (until) => growSubnets({ store, isFree: scheduler.isFree, now, log, signal: until }),
        retention: (until) => retentionLoop(store, { log, signal: until, images: sweeper }),
      };
      try {
        await Promise.all(
          Object.entries(all).map(([name, loop]) => {
            const outlives = (until: AbortSignal) => lasting(() => loop(until), { store, log, signal: until });
            return kept.keep(name, outlives, both).catch((error: unknown) => failed.abort(error));
          }),
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
      context.presence.close();
      await context.ownLog.close();
    },
  };
}

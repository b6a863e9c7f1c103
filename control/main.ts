// The control plane: read config, open the state, build the adapters, wire, run. `explain JOB` prints a decision.
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { Fault } from "#api/fault.ts";
import { writeFileAtomic } from "#lib/files.ts";
import { createLog } from "#lib/log.ts";
import { portHolder } from "#lib/port-holder.ts";
import { run } from "#lib/run.ts";
import { VERSION } from "#lib/version.ts";
import { apiServer } from "./api-server.ts";
import { type ControlConfig, loadControlConfig } from "./config.ts";
import type { Context } from "./context.ts";
import { deployments } from "./deploy/deployments.ts";
import { firstStart } from "./first-start.ts";
import { openAuthority } from "./identity/authority.ts";
import { writeLocalJoinTokens } from "./identity/local-join.ts";
import { jobIndex } from "./job-index.ts";
import { localDocker } from "./local-docker.ts";
import { logs } from "./logs.ts";
import { followHosts } from "./machine-state.ts";
import { presence } from "./presence.ts";
import { registry } from "./registry.ts";
import { retentionLoop } from "./retention.ts";
import { mountApps } from "./routes/apps.ts";
import { mountArtifacts, storeImage } from "./routes/artifacts.ts";
import { mountBoot } from "./routes/boot.ts";
import { mountDeployments } from "./routes/deployments.ts";
import { mountHosts } from "./routes/hosts.ts";
import { mountLogs } from "./routes/logs.ts";
import { mountMachines } from "./routes/machines.ts";
import { mountRouters } from "./routes/routers.ts";
import { mountRoutes } from "./routes/routes.ts";
import { mountServices } from "./routes/services.ts";
import { mountStatus } from "./routes/status.ts";
import { createHostLoop } from "./scheduler/host-loop.ts";
import { createScheduler } from "./scheduler/scheduler.ts";
import { openStore } from "./store/store.ts";
import { isDrained } from "./targets/drained.ts";
import { routing } from "./targets/generation.ts";

const ROUTER_ALIVE_MS = 10_000;

async function main(signal: AbortSignal): Promise<void> {
  const config = loadControlConfig(process.argv[2] === "--config" ? process.argv[3] : undefined);
  const log = createLog("control", { level: config.logLevel });
  const now = () => new Date();
  const monotonicMs = () => performance.now();
  const failed = new AbortController();
  const both = AbortSignal.any([signal, failed.signal]);

  const store = await openStore({
    directory: join(config.stateDir, "store"),
    log,
    onFatal: (error) => failed.abort(error),
  });
  if (store.report.outcome === "recovered")
    log.error({ findings: store.report.findings }, "state was damaged and has been recovered in full");
  const authority = await openAuthority(join(config.stateDir, "ca"));
  const adminToken = await firstStart(store, config, now());
  const addresses = advertised(config);
  const identity = await authority.issueControl(addresses);
  const registryIdentity = await authority.issueControl(addresses);
  await writeFileAtomic(join(config.stateDir, "pki", "ca.pem"), authority.caPem);
  await writeFileAtomic(join(config.stateDir, "pki", "registry.crt"), registryIdentity.certificate);
  await writeFileAtomic(join(config.stateDir, "pki", "registry.key"), registryIdentity.key, { mode: 0o600 });

  await writeLocalJoinTokens(store, config, now());

  const jobs = jobIndex(store);
  store.onDurable((record) => jobs.apply(record)); // first of all listeners: the others read the index
  const context: Context = {
    store,
    config,
    authority,
    log,
    jobs,
    now,
    presence: presence({ monotonicMs, now }),
    registry: config.registry || `${addresses[0]}:5000`,
    controlUrls: addresses.map((address) => `https://${address}:${config.port}`),
    startedAt: now().toISOString(),
  };
  const routes = routing(store);
  const liveRouters = () =>
    [...context.presence.routers.values()]
      .filter(({ atMs }) => monotonicMs() - atMs < ROUTER_ALIVE_MS)
      .map(({ report }) => report);
  const scheduler = createScheduler({
    store,
    log,
    isDrained: (job, drainSeq) =>
      isDrained({
        job,
        drainSeq,
        target: routes.current(),
        routers: liveRouters(),
        drainingMs: Date.now() - Date.parse(job.drainingSince ?? ""),
        drainTimeoutMs: config.drainTimeoutMs,
      }),
  });
  const hostLoop = createHostLoop({ store, log, presence: context.presence, scheduler, ttlMs: config.hostLostAfterMs });
  const archive = logs(context, identity);
  const images = await registry({
    address: config.registryPush,
    directory: join(config.stateDir, "registry-client"),
    identity,
    caPem: authority.caPem,
  });
  const deployer = deployments(context, {
    routersAcknowledged: () => {
      const { generation } = routes.current();
      return liveRouters().every((report) => report.generation >= generation);
    },
    onRouterReport: (listener) =>
      context.presence.onFrame((id) => {
        if (context.presence.routers.has(id)) listener();
      }),
    logTail: async (app, jobIds) =>
      (await Promise.all(jobIds.slice(0, 3).map((jobId) => archive.tail(app, { jobId, lines: 10 })))).flatMap(
        ({ items }) => items,
      ),
  });

  const { app, mount } = apiServer(context, identity);
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
  mountApps(mount, context, { deployments: deployer, explain: (job) => scheduler.explain(job) });
  mountArtifacts(mount, context, image);
  mountDeployments(mount, context, deployer);
  mountLogs(mount, context, archive);
  mountRoutes(mount, context);
  mountServices(mount, context, {
    deployments: deployer,
    logs: archive,
    image,
    docker: localDocker(config.dockerSocket),
  });

  await app.listen({ host: config.address, port: config.port }).catch(async (cause: NodeJS.ErrnoException) => {
    if (cause.code !== "EADDRINUSE") throw cause;
    const holder = await portHolder("tcp", config.port);
    throw new Fault(
      "unavailable",
      `port ${config.port} is taken${holder ? ` by ${holder.command} (pid ${holder.pid})` : ""}`,
    );
  });
  log.info({ port: config.port, addresses, seq: store.seq, term: store.term, pin: authority.pin }, "control is up");
  await writeFileAtomic(
    join(config.stateDir, "ready.json"),
    JSON.stringify({
      pid: process.pid,
      url: context.controlUrls[0],
      pin: authority.pin,
      ...(adminToken ? { firstStart: true } : {}),
    }),
  );
  if (adminToken !== undefined)
    process.stdout.write(`${JSON.stringify({ adminToken, pin: authority.pin, url: context.controlUrls[0] })}\n`);

  const stopFollowing = followHosts(context);
  try {
    await Promise.all(
      [scheduler.run(both), hostLoop.run(both), deployer.run(both), retentionLoop(store, { log, signal: both })].map(
        (loop) => loop.catch((error: unknown) => failed.abort(error)),
      ),
    );
  } finally {
    stopFollowing();
    await app.close();
    archive.close();
    await store.close();
  }
  if (failed.signal.aborted) throw new Fault("internal", "control stops", { cause: failed.signal.reason });
}

/** Addresses that others reach this control by: those configured, else every address of this machine but loopback. */
function advertised({ advertise }: ControlConfig): string[] {
  if (advertise.length > 0) return advertise;
  const own = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ family, internal }) => family === "IPv4" && !internal)
    .map(({ address }) => address);
  return own.length > 0 ? own : ["127.0.0.1"];
}

run(main);

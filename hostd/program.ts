// Wires one hostd: identity, engine, agent, and its loops; ends when the signal aborts and leaves every container running.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createClient } from "#api/client.ts";
import { knownUrls } from "#api/control-urls.ts";
import type { HostTarget } from "#api/hosts.ts";
import { ensureIdentity } from "#api/join.ts";
import { keepIdentity } from "#api/renew.ts";
import { ownHello } from "#api/version.ts";
import { removeUnfinished } from "#lib/files.ts";
import { createLog, type Log } from "#lib/log.ts";
import { createWake } from "#lib/wake.ts";
import { keepAddresses } from "./addresses.ts";
import { createAgent } from "./agent.ts";
import { createApply } from "./apply.ts";
import { bootEvents } from "./boot-events.ts";
import { dockerBuildEngine } from "./builds/docker.ts";
import { BRIDGES, type BuildEngine } from "./builds/engine.ts";
import { openBuilds } from "./builds/open.ts";
import { type HostdConfig, targetDirOf } from "./config.ts";
import { containerDns } from "./dns.ts";
import { dockerEngine } from "./engine/docker.ts";
import { dockerStreams, type EngineStreams } from "./engine/docker-streams.ts";
import type { Engine } from "./engine/engine.ts";
import { monitorEngine } from "./engine-monitor.ts";
import { hostReport } from "./host-report.ts";
import { BRIDGE } from "./job-container.ts";
import { ownSpace, watchPressure, watchSpace } from "./job-disk/space.ts";
import { watchDisk } from "./job-disk/watch.ts";
import { jobNetwork } from "./job-network.ts";
import { logRoute } from "./logs/route.ts";
import { logStore } from "./logs/store.ts";
import { watchMemory } from "./memory-loop.ts";
import { networkLoop } from "./network-loop.ts";
import { ownFacts } from "./own-facts.ts";
import { pollTarget } from "./poll.ts";
import { prefetchLoop, roomOf } from "./prefetch-loop.ts";
import { pruneLoop } from "./prune-loop.ts";
import { reachKernel } from "./reach/kernel.ts";
import { keepReach, unkeptReach } from "./reach/reach.ts";
import { trustRegistry } from "./registry-trust.ts";
import { giveUpIdentity, rememberToken } from "./rejoin.ts";
import { sendReports } from "./report.ts";
import { startHostServer } from "./server.ts";
import { reapLeftBehind } from "./sessions/exec.ts";
import { jobChanges } from "./sessions/job-changes.ts";
import { sessions } from "./sessions/sessions.ts";
import { signalRoute } from "./sessions/signal-route.ts";
import { reportDisks } from "./state-disk/report.ts";
import { loadState, recordsAfter, saveState } from "./state-file.ts";
import { jobStops } from "./stop/stop.ts";
import { loadTarget, removeTarget } from "./target.ts";

export interface ProgramParts {
  engine?: Engine;
  buildEngine?: BuildEngine;
  log?: Log;
  /** The streams of containers; Docker's unless given. */
  streams?: EngineStreams;
  /** Told the port of this host's server once it listens. */
  onListen?: (port: number) => void;
  /** Finds the address from which control is reached; the routing table's word unless given. */
  wayTo?: (urls: readonly string[]) => Promise<string | undefined>;
  /** The clock that certificates are renewed by. */
  nowMs?: () => number;
}

export async function runHostd(config: HostdConfig, outer: AbortSignal, parts: ProgramParts = {}): Promise<void> {
  const { log = createLog("hostd"), nowMs, engine = dockerEngine({ socketPath: config.dockerSocket }) } = parts;
  const { wayTo, streams = dockerStreams({ socketPath: config.dockerSocket }) } = parts;
  const { stateDir, name } = config;
  let controlUrls: readonly string[] = config.controlUrls; // and, once there is a target, those that it names
  const caPem = config.caPem!;
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  await removeUnfinished(stateDir, join(stateDir, "identity"));
  // One loop that fails ends them all, so that the supervisor starts a whole hostd again.
  const failed = new AbortController();
  const signal = AbortSignal.any([outer, failed.signal]);

  const facts = await ownFacts({
    ...{ stateDir, address: config.address, wayTo, log, bridges: [BRIDGE, ...Object.values(BRIDGES)] },
    controlUrls: () => controlUrls,
    onChange(moved) {
      // Connections from an address that is gone would be noticed by their silence alone.
      if (moved) client.useIdentity(identity);
      network.ring();
      reports.ring();
    },
  });
  const own = facts.now();
  const identityDir = join(stateDir, "identity");
  let identity = await ensureIdentity({
    directory: identityDir,
    controlUrls,
    caPem,
    role: "host",
    name,
    token: config.joinToken,
    facts: own,
    addresses: own.address === undefined ? [] : [own.address],
    tags: config.tags,
    signal,
    onRetry: (error) => log.warn({ err: error }, "join is tried again"),
  });
  await rememberToken(identityDir, config.joinToken);
  const hostId = identity.id;
  log.info({ hostId, name, address: own.address }, "host identity");

  const kept = await loadState(stateDir);
  const targetDir = targetDirOf(config);
  if (targetDir !== stateDir) await removeTarget(stateDir);
  const keptTarget = await loadTarget(targetDir, hostId);
  controlUrls = knownUrls(config.controlUrls, keptTarget?.controlUrls);
  const reports = createWake();
  const attached = new Set<string>();
  const { ring, changed } = jobChanges(signal);
  const events = await bootEvents({ runDir: config.runDir, told: kept?.bootId === own.bootId ? kept.told : [] });
  const logs = logStore({
    directory: join(stateDir, "logs"),
    maxBytes: config.logMaxBytes,
    totalBytes: config.logTotalBytes,
    segmentBytes: Math.ceil(config.logMaxBytes / 8),
    onError: (error) => log.error({ err: error }, "log lines not kept"),
  });
  const monitor = monitorEngine({
    engine,
    onChange(healthy) {
      log.info({ ...monitor.report() }, "engine health changed");
      if (healthy) events.add("docker", "info", `Docker ${monitor.report().version} is up`);
      agent.wake();
      builds.wake();
      network.ring();
      reports.ring();
    },
  });
  // One after the other: a target and a renewal may come together, and Docker must never find halves of two pairs for long.
  let trusting = Promise.resolve();
  const trust = (target: HostTarget): Promise<void> => {
    trusting = trusting
      .then(() => trustRegistry({ certsDir: config.dockerCertsDir, registry: target.registry, identity }))
      .catch((error: unknown) => log.error({ err: error }, "registry certificate not written"));
    return trusting;
  };
  const dns = containerDns(config.dns);
  const jobsOn = jobNetwork({ engine, onChange: reports.ring });
  const network = await networkLoop({
    ...{ isManaged: config.manageNetwork, allowedAddresses: config.allowedAddresses, healthy: monitor.healthy, log },
    controlUrls: () => controlUrls,
    target: () => agent.target(),
    jobs: jobsOn,
  });
  const reach = config.manageNetwork
    ? keepReach({
        kernel: reachKernel([BRIDGE, ...Object.values(BRIDGES)]),
        jobBridge: BRIDGE,
        buildBridges: Object.values(BRIDGES),
        clusterAddresses: network.clusterAddresses,
        dns: dns.open,
        onChange(what) {
          if (what === "version") reports.ring();
          else network.ring();
        },
        log,
      })
    : unkeptReach;
  if (keptTarget) reach.setTarget(keptTarget);
  const addresses = keepAddresses(kept?.addresses);
  const space = watchSpace({ places: [config.dockerDir, stateDir], diskReserveBytes: config.diskReserveBytes });
  const disk = watchDisk({
    running: () => agent.running(),
    limitOf: (jobId) => agent.find(jobId).job?.diskBytes,
    space: space.disk,
    ownSpace: () => ownSpace(config.dockerDir),
    reserveBytes: space.reserveBytes,
    say: (job, line) =>
      void logs.say(job, line).catch((error: unknown) => log.error({ err: error }, "log line not kept")),
    onExcess: () => agent.wake(),
    log,
  });
  const stops = jobStops({ log, signal });
  const agent = createAgent({
    engine,
    monitor,
    stops,
    apply: createApply({ engine, dns: dns.of, addresses, reach, network: jobsOn }),
    addresses,
    reach,
    logs,
    target: keptTarget,
    records: recordsAfter(kept, own.bootId),
    attached,
    excess: disk.excess,
    onChange() {
      reports.ring();
      ring();
    },
    save: (state) => {
      const beside = { bootId: own.bootId, told: events.toldStages(), addresses: addresses.recent() };
      return saveState(stateDir, { ...state, ...beside });
    },
    log,
    signal,
  });
  const memory = watchMemory({ running: agent.running, log });
  if (keptTarget) await trust(keptTarget);

  const reaped = await reapLeftBehind(hostId);
  if (reaped > 0) log.info({ processes: reaped }, "commands of an earlier run ended");
  const { open } = sessions({ agent, engine, streams, hostId, log, attached, changed });
  const routes = [logRoute({ store: logs }), signalRoute({ agent, engine, stops })];
  const server = await startHostServer({ routes, open, identity, port: config.port, log });
  parts.onListen?.(server.port);
  const client = createClient({ urls: controlUrls, caPem, identity, timeoutMs: 10_000, hello: ownHello("hostd") });
  const builds = openBuilds({
    config,
    engine: parts.buildEngine ?? dockerBuildEngine({ socketPath: config.dockerSocket }),
    reach,
    clusterAddresses: network.clusterAddresses,
    certsDir: config.dockerCertsDir,
    jobEngine: engine,
    client,
    hostId,
    dns: dns.of,
    healthy: monitor.healthy,
    onChange: reports.ring,
    log,
    signal,
  });
  const onTarget = (target: HostTarget): void => {
    log.info({ term: target.term, seq: target.seq, jobs: target.jobs.length }, "target received");
    if (!monitor.healthy()) log.warn("the engine does not work; the target waits for it");
    else events.add("ready", "info", "the agent follows its target and Docker works");
    controlUrls = knownUrls(config.controlUrls, target.controlUrls);
    client.useUrls(controlUrls);
    // What the target takes away is taken away now; what it adds waits for nothing either.
    reach.setTarget(target);
    void trust(target).then(() => {
      agent.setTarget(target);
      builds.setTarget(target);
      network.ring();
    });
  };
  const current = () =>
    hostReport({
      ...{ agent, monitor, memory, disk, space, reach, network: jobsOn },
      facts: facts.now,
      builds: builds.jobs,
    });

  const untold = {
    pending: events.pending,
    told(sent: ReturnType<typeof events.pending>) {
      events.told(sent);
      if (sent.length > 0) agent.keep();
    },
  };
  const onRefused = async (): Promise<void> => {
    if (await giveUpIdentity(identityDir, config.joinToken))
      throw new Error("control refuses this host's certificate; it joins anew with its seed's token at the next start");
  };
  const renewLoop = (): Promise<void> =>
    keepIdentity({
      identity,
      directory: identityDir,
      client,
      onRenewed(next) {
        identity = next;
        server.useIdentity(next);
        const target = agent.target();
        if (target) void trust(target);
        log.info({ expiresAt: next.expiresAt }, "certificate renewed");
      },
      onRetry: (error, expiresAt) => log.warn({ err: error, expiresAt }, "certificate not renewed, it is tried again"),
      nowMs,
      signal,
    });
  const used = () => {
    const { images, logs: usedLogs } = agent.used();
    return { images: new Set([...images, ...builds.images()]), logs: usedLogs };
  };

  const loops = [
    monitor.run(signal),
    agent.run(),
    builds.run(),
    pollTarget({ client, hostId, stateDir: targetDir, seen: keptTarget, onTarget, log, signal }),
    sendReports({ client, hostId, current, events: untold, wake: reports, onRefused, log, signal }),
    network.run(signal),
    reach.run(signal),
    facts.run(signal),
    renewLoop(),
    memory.run(signal),
    disk.run(signal),
    watchPressure(space, { onChange: reports.ring, log, signal }),
    reportDisks({ client, hostId, runDir: config.runDir, events, onNote: reports.ring, log, signal }),
    prefetchLoop({
      engine,
      target: agent.target,
      healthy: monitor.healthy,
      pulling: () =>
        agent.jobs().some(({ state, reason }) => state === "starting" && reason.startsWith("pulling image")),
      room: () => roomOf(stateDir),
      log,
      signal,
    }),
    pruneLoop({ engine, agent: { target: agent.target, used }, logs, healthy: monitor.healthy, log, signal }),
  ];
  try {
    await Promise.all(loops);
  } catch (error) {
    if (!signal.aborted) log.fatal({ err: error }, "a loop failed");
    throw error;
  } finally {
    failed.abort();
    await Promise.allSettled(loops);
    client.close();
    await server.close();
    await logs.close();
  }
}

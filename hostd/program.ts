// Wires one hostd: identity, engine, agent, and its loops; ends when the signal aborts and leaves every container running.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { HostTarget } from "#api/host-agents.ts";
import { removeUnfinished } from "#lib/files.ts";
import { createLog, type Log } from "#lib/log.ts";
import { createWake } from "#lib/wake.ts";
import { keepAddresses } from "./addresses.ts";
import { createAgent } from "./agent.ts";
import { createApply } from "./apply.ts";
import { bootEvents } from "./boot-events.ts";
import { openBuilds } from "./builds/open.ts";
import { type HostdConfig, ownerOf, targetDirOf } from "./config.ts";
import { openDiskWork } from "./disk-work.ts";
import { monitorEngine } from "./engine-monitor.ts";
import { dockerEngines, type Engines } from "./engines.ts";
import { openFront } from "./front.ts";
import { hostNetwork, OWN_BRIDGES } from "./host-network.ts";
import { hostReport } from "./host-report.ts";
import { logStore } from "./logs/store.ts";
import { joinCluster } from "./membership.ts";
import { pollTarget } from "./poll.ts";
import { rebooter } from "./reboot.ts";
import { trustRegistry } from "./registry-trust.ts";
import { sendReports } from "./report.ts";
import { jobChanges } from "./sessions/job-changes.ts";
import { loadState, recordsAfter, saveState } from "./state-file.ts";
import { jobStops } from "./stop/stop.ts";
import { loadTarget, removeTarget } from "./target.ts";
import { upkeep } from "./upkeep.ts";
import { watchUsage } from "./usage.ts";

export interface ProgramParts extends Partial<Engines> {
  log?: Log;
  /** Told the port of this host's server once it listens. */
  onListen?: (port: number) => void;
  /** Finds the address from which control is reached; the routing table's word unless given. */
  wayTo?: (urls: readonly string[]) => Promise<string | undefined>;
  /** The clock that certificates are renewed by. */
  nowMs?: () => number;
  /** Ends this boot of the machine; by systemd unless given. */
  reboot?: (signal: AbortSignal) => Promise<void>;
}

export async function runHostd(config: HostdConfig, outer: AbortSignal, parts: ProgramParts = {}): Promise<void> {
  const { log = createLog("hostd"), nowMs, wayTo } = parts;
  const { engine, buildEngine, streams } = dockerEngines(config.dockerSocket, parts);
  const { stateDir } = config;
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  await removeUnfinished(stateDir, join(stateDir, "identity"));
  // One loop that fails ends them all, so that the supervisor starts a whole hostd again.
  const failed = new AbortController();
  const signal = AbortSignal.any([outer, failed.signal]);

  const membership = await joinCluster({
    ...{ config, wayTo, nowMs, bridges: OWN_BRIDGES, log, signal },
    onFacts() {
      network.routes.ring();
      reports.ring();
    },
    onRenewed(next) {
      server.useIdentity(next);
      const target = agent.target();
      if (target) void trust(target);
    },
  });
  const { hostId, client, controlUrls } = membership;
  const { bootId } = membership.facts();

  const kept = await loadState(stateDir);
  const targetDir = targetDirOf(config);
  if (targetDir !== stateDir) await removeTarget(stateDir);
  const keptTarget = await loadTarget(targetDir, hostId);
  membership.useUrlsOf(keptTarget);
  const reports = createWake();
  const attached = new Set<string>();
  const { ring, changed } = jobChanges(signal);
  const events = await bootEvents({ runDir: config.runDir, told: kept?.bootId === bootId ? kept.told : [] });
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
      if (healthy && agent.target() !== undefined) diskWork.ready();
      agent.wake();
      builds.wake();
      network.routes.ring();
      reports.ring();
    },
  });
  // One after the other: a target and a renewal may come together, and Docker must never find halves of two pairs for long.
  let trusting = Promise.resolve();
  const trust = (target: HostTarget): Promise<void> => {
    trusting = trusting
      .then(() =>
        trustRegistry({ certsDir: config.dockerCertsDir, registry: target.registry, identity: membership.identity() }),
      )
      .catch((error: unknown) => log.error({ err: error }, "registry certificate not written"));
    return trusting;
  };
  const network = await hostNetwork({
    ...{ config, engine, healthy: monitor.healthy, controlUrls, onChange: reports.ring, log },
    target: () => agent.target(),
  });
  const { dns, reach } = network;
  if (keptTarget) reach.setTarget(keptTarget);
  const addresses = keepAddresses(kept?.addresses);
  const usage = watchUsage({ config, agent: () => agent, logs, onPressure: reports.ring, log });
  const stops = jobStops({ log, signal });
  const agent = createAgent({
    engine,
    monitor,
    stops,
    apply: createApply({ engine, dns: dns.of, addresses, reach, network: network.jobs }),
    addresses,
    reach,
    logs,
    target: keptTarget,
    records: recordsAfter(kept, bootId),
    attached,
    excess: usage.disk.excess,
    onChange() {
      reports.ring();
      ring();
    },
    save: (state) => {
      const beside = { bootId, told: events.toldStages(), addresses: addresses.recent() };
      return saveState(stateDir, { ...state, ...beside });
    },
    log,
    signal,
  });
  if (keptTarget) await trust(keptTarget);

  const server = await openFront({
    ...{ hostId, agent, engine, streams, stops, logs, attached, changed, log },
    identity: membership.identity(),
    port: config.port,
    address: membership.facts().address,
  });
  parts.onListen?.(server.port);
  const builds = openBuilds({
    config,
    engine: buildEngine,
    reach,
    clusterAddresses: network.routes.clusterAddresses,
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
  const diskWork = openDiskWork({
    ...{ client, hostId, owner: () => ownerOf(config), name: config.name, stateDir, runDir: config.runDir },
    ...{ events, onEvent: reports.ring, log, signal },
  });
  const { reboot } = parts;
  const rebootOnOrder = rebooter({ bootId, before: diskWork.beforeReboot, ...(reboot ? { reboot } : {}), log, signal });
  const onTarget = (target: HostTarget): void => {
    diskWork.setTarget(target);
    rebootOnOrder(target);
    log.info({ term: target.term, seq: target.seq, jobs: target.jobs.length }, "target received");
    if (!monitor.healthy()) log.warn("the engine does not work; the target waits for it");
    else {
      events.add("ready", "info", "the agent follows its target and Docker works");
      diskWork.ready();
    }
    membership.useUrlsOf(target);
    // What the target takes away is taken away now; what it adds waits for nothing either.
    reach.setTarget(target);
    void trust(target).then(() => {
      agent.setTarget(target);
      builds.setTarget(target);
      network.routes.ring();
    });
  };
  const current = () =>
    hostReport({
      ...{ agent, monitor, ...usage, reach, network: network.jobs },
      facts: membership.facts,
      builds: builds.jobs,
    });

  const untold = {
    pending: events.pending,
    told(sent: ReturnType<typeof events.pending>) {
      events.told(sent);
      if (sent.length > 0) agent.keep();
    },
  };
  const loops = [
    monitor.run(signal),
    agent.run(),
    builds.run(),
    diskWork.run(),
    pollTarget({ client, hostId, stateDir: targetDir, seen: keptTarget, onTarget, log, signal }),
    sendReports({
      client,
      hostId,
      current,
      events: untold,
      wake: reports,
      onRefused: membership.onRefused,
      log,
      signal,
    }),
    network.run(signal),
    membership.run(signal),
    usage.run(signal),
    upkeep(
      {
        ...{
          engine,
          agent,
          logs,
          healthy: monitor.healthy,
          client,
          hostId,
          stateDir,
          runDir: config.runDir,
          events,
          log,
        },
        buildImages: builds.images,
        onNote: reports.ring,
      },
      signal,
    ),
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

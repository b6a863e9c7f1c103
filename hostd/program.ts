// Wires one hostd: identity, engine, agent, and its loops; ends when the signal aborts and leaves every container running.
import { mkdir } from "node:fs/promises";
import { isIPv4 } from "node:net";
import { join } from "node:path";
import { createClient } from "#api/client.ts";
import type { HostTarget } from "#api/hosts.ts";
import { ensureIdentity } from "#api/join.ts";
import { keepIdentity } from "#api/renew.ts";
import { removeUnfinished } from "#lib/files.ts";
import { createLog, type Log } from "#lib/log.ts";
import { sleep } from "#lib/time.ts";
import { keepAddresses } from "./addresses.ts";
import { createAgent } from "./agent.ts";
import { createApply } from "./apply.ts";
import { bootEvents } from "./boot-events.ts";
import { dockerBuildEngine } from "./builds/docker.ts";
import type { BuildEngine } from "./builds/engine.ts";
import { openBuilds } from "./builds/open.ts";
import type { HostdConfig } from "./config.ts";
import { containerDns } from "./dns.ts";
import { dockerEngine } from "./engine/docker.ts";
import { dockerStreams, type EngineStreams } from "./engine/docker-streams.ts";
import type { Engine } from "./engine/engine.ts";
import { monitorEngine } from "./engine-monitor.ts";
import { readFacts } from "./facts.ts";
import { BRIDGE } from "./job-container.ts";
import { logRoute } from "./logs/route.ts";
import { logStore } from "./logs/store.ts";
import { watchMemory } from "./memory-loop.ts";
import { applyNetwork } from "./network-apply.ts";
import { pollTarget } from "./poll.ts";
import { prefetchLoop, roomOf } from "./prefetch-loop.ts";
import { pruneLoop } from "./prune-loop.ts";
import { trustRegistry } from "./registry-trust.ts";
import { giveUpIdentity, rememberToken } from "./rejoin.ts";
import { sendReports } from "./report.ts";
import { startHostServer } from "./server.ts";
import { reapLeftBehind } from "./sessions/exec.ts";
import { jobChanges } from "./sessions/job-changes.ts";
import { sessions } from "./sessions/sessions.ts";
import { signalRoute } from "./sessions/signal-route.ts";
import { loadState, recordsAfter, saveState } from "./state-file.ts";
import { loadTarget } from "./target.ts";
import { createWake } from "./wake.ts";

export interface ProgramParts {
  engine?: Engine;
  buildEngine?: BuildEngine;
  log?: Log;
  /** The streams of containers; Docker's unless given. */
  streams?: EngineStreams;
  /** Told the port of this host's server once it listens. */
  onListen?: (port: number) => void;
  /** The clock that certificates are renewed by. */
  nowMs?: () => number;
}

const NETWORK_EVERY_MS = 30_000;

export async function runHostd(config: HostdConfig, outer: AbortSignal, parts: ProgramParts = {}): Promise<void> {
  const { log = createLog("hostd"), nowMs, engine = dockerEngine({ socketPath: config.dockerSocket }) } = parts;
  const { streams = dockerStreams({ socketPath: config.dockerSocket }) } = parts;
  const { stateDir, controlUrls, name } = config;
  const caPem = config.caPem!;
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  await removeUnfinished(stateDir, join(stateDir, "identity"));
  // One loop that fails ends them all, so that the supervisor starts a whole hostd again.
  const failed = new AbortController();
  const signal = AbortSignal.any([outer, failed.signal]);

  let facts = await readFacts({ stateDir, controlUrls, address: config.address });
  const identityDir = join(stateDir, "identity");
  let identity = await ensureIdentity({
    directory: identityDir,
    controlUrls,
    caPem,
    role: "host",
    name,
    token: config.joinToken,
    facts,
    addresses: facts.address === undefined ? [] : [facts.address],
    tags: config.tags,
    signal,
    onRetry: (error) => log.warn({ err: error }, "join is tried again"),
  });
  await rememberToken(identityDir, config.joinToken);
  const hostId = identity.id;
  log.info({ hostId, name, address: facts.address }, "host identity");

  const kept = await loadState(stateDir);
  const keptTarget = await loadTarget(stateDir, hostId);
  const reports = createWake();
  const attached = new Set<string>();
  const { ring, changed } = jobChanges(signal);
  const networkWake = createWake();
  const events = await bootEvents({ runDir: config.runDir, told: kept?.bootId === facts.bootId ? kept.told : [] });
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
      networkWake.ring();
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
  const dns = await containerDns(config.dns);
  const addresses = keepAddresses(kept?.addresses);
  const agent = createAgent({
    engine,
    monitor,
    apply: createApply({ engine, dns, addresses }),
    addresses,
    logs,
    target: keptTarget,
    records: recordsAfter(kept, facts.bootId),
    attached,
    onChange() {
      reports.ring();
      ring();
    },
    save: (state) => {
      const beside = { bootId: facts.bootId, told: events.toldStages(), addresses: addresses.recent() };
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
  const routes = [logRoute({ store: logs }), signalRoute({ agent, engine })];
  const server = await startHostServer({ routes, open, identity, port: config.port, log });
  parts.onListen?.(server.port);
  const client = createClient({ urls: controlUrls, caPem, identity, timeoutMs: 10_000 });
  const builds = openBuilds({
    config,
    engine: parts.buildEngine ?? dockerBuildEngine({ socketPath: config.dockerSocket }),
    jobEngine: engine,
    client,
    hostId,
    dns,
    healthy: monitor.healthy,
    onChange: reports.ring,
    log,
    signal,
  });
  const onTarget = (target: HostTarget): void => {
    log.info({ term: target.term, seq: target.seq, jobs: target.jobs.length }, "target received");
    if (!monitor.healthy()) log.warn("the engine does not work; the target waits for it");
    else events.add("ready", "info", "the agent follows its target and Docker works");
    void trust(target).then(() => {
      agent.setTarget(target);
      builds.setTarget(target);
      networkWake.ring();
    });
  };
  const current = () => {
    const { term = 0, seq = 0 } = agent.target() ?? {};
    const jobs = agent.jobs().map((job) => {
      const memoryBytes = memory.of(job.id);
      return memoryBytes === undefined ? job : { ...job, memoryBytes };
    });
    return { term, seq, facts, engine: monitor.report(), jobs: [...jobs, ...builds.jobs()] };
  };

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
  const networkLoop = async (): Promise<void> => {
    if (!config.manageNetwork) return;
    const control = controlUrls.map((url) => new URL(url).hostname).filter((host) => isIPv4(host));
    const allowedAddresses = [...control, ...config.allowedAddresses];
    let last = "";
    while (!signal.aborted) {
      const target = agent.target();
      if (target && monitor.healthy())
        await applyNetwork({ target, bridge: BRIDGE, allowedAddresses }, signal).then(
          () => {
            last = "";
          },
          (error: unknown) => {
            if (!signal.aborted && last !== String(error)) log.warn({ err: error }, "network not as it should be");
            last = String(error);
          },
        );
      await networkWake.wait(last === "" ? NETWORK_EVERY_MS : 2_000, signal);
    }
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
  const factsLoop = async (): Promise<void> => {
    for (; !signal.aborted; await sleep(facts.address === undefined ? 5_000 : 60_000, signal))
      facts = await readFacts({ stateDir, controlUrls, address: config.address }).catch(() => facts);
  };

  const used = () => {
    const { images, apps } = agent.used();
    return { images: new Set([...images, ...builds.images()]), apps };
  };

  const loops = [
    monitor.run(signal),
    agent.run(),
    builds.run(),
    pollTarget({ client, hostId, stateDir, seen: keptTarget, onTarget, log, signal }),
    sendReports({ client, hostId, current, events: untold, wake: reports, onRefused, log, signal }),
    networkLoop(),
    factsLoop(),
    renewLoop(),
    memory.run(signal),
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

// The router: HAProxy kept equal to what control wants served. `router [--config FILE]` runs it,
// `router explain DOMAIN[/PATH]` prints what would serve a request.
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { createClient } from "#api/client.ts";
import { knownUrls } from "#api/control-urls.ts";
import { Fault } from "#api/fault.ts";
import { readCa } from "#api/join.ts";
import { asMember } from "#api/rejoin.ts";
import { keepIdentity } from "#api/renew.ts";
import type { RouterTarget } from "#api/router-agents.ts";
import { ownHello } from "#api/version.ts";
import { removeUnfinished } from "#lib/files.ts";
import { keepNewSpaceSmall } from "#lib/heap.ts";
import { createLog, type Log } from "#lib/log.ts";
import { run } from "#lib/run.ts";
import { every } from "#lib/time.ts";
import { copyAccessLog } from "./access-log.ts";
import { type Config, routerConfig } from "./config.ts";
import { possibleConnections } from "./connections.ts";
import { type Converger, createConverger } from "./converge.ts";
import { explain } from "./explain.ts";
import { createHaproxy } from "./haproxy.ts";
import { readKept } from "./kept.ts";
import { type LogSender, logSender } from "./log-sender.ts";
import { applyPeers } from "./peers.ts";
import { reportLoop } from "./report.ts";
import { ask } from "./runtime.ts";
import { parseServersState } from "./verify.ts";
import { targets } from "./watch.ts";

const PEERS_EVERY_MS = 10_000;

keepNewSpaceSmall();
run(async (signal) => {
  const { values, positionals } = parseArgs({
    options: { config: { type: "string", short: "c" } },
    allowPositionals: true,
  });
  const config = routerConfig(values.config);
  if (positionals[0] === "explain" && positionals[1]) return await explainRequest(config, positionals[1]);
  if (positionals.length > 0) throw new Fault("invalid", "usage: router [--config FILE] [explain DOMAIN[/PATH]]");
  await serve(config, signal);
});

async function serve(config: Config, signal: AbortSignal): Promise<void> {
  const { bind, httpPort, proxySources, trustedFronts, threads, accessLog, haproxyBinary: binary } = config;
  const stateDir = resolve(config.stateDir);
  const directory = join(stateDir, "haproxy");
  const log = createLog("router", { level: config.logLevel });
  const httpsPort = config.httpsPort || undefined;
  await removeUnfinished(stateDir, join(stateDir, "identity"), directory, join(directory, "certificates"));
  const haproxy = await createHaproxy({ binary, directory, bind, httpPort, httpsPort, accessLog });
  const possible = await possibleConnections();
  const maxConnections = Math.min(config.maxConnections, possible.count);
  if (maxConnections < config.maxConnections)
    log.warn({ maxConnections }, `${possible.bound} allows fewer connections than are configured`);
  const account = await workerAccount(config.haproxyAccount);
  const converger = createConverger({
    haproxy,
    render: {
      directory,
      bind,
      httpPort,
      httpsPort,
      proxySources,
      trustedFronts,
      maxConnections,
      threads,
      account,
      accessLog,
    },
    stateDir,
    backends: config.backends,
    slots: config.slots,
    log,
  });
  const ended = new AbortController();
  const stop = AbortSignal.any([signal, ended.signal]);
  const file = join(stateDir, "access.log");
  const loops: Promise<void>[] = [];
  const requests = logSender({ log });
  try {
    if (accessLog)
      loops.push(
        copyAccessLog({
          pipe: haproxy.accessPipe,
          file,
          jobOf: converger.jobOf,
          onLine: requests.push,
          log,
          signal: stop,
        }),
      );
    await converger.begin();
    log.info({ bind, httpPort, httpsPort, ...converger.state() }, "router serves");
    loops.push(
      converger.run(stop),
      keepPeers(config, converger, log, stop),
      follow(config, converger, requests, log, stop),
    );
    await Promise.race(loops);
  } finally {
    ended.abort();
    await Promise.allSettled(loops);
    if (!config.keepHaproxy) await haproxy.stop(config.stopGraceMs);
    log.info({ isHaproxyKept: config.keepHaproxy }, "router stopped");
  }
}

/** Everything that needs control: join, follow the target, report. HAProxy serves the last target meanwhile. */
async function follow(
  config: Config,
  converger: Converger,
  requests: LogSender,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const caPem = config.caPem ?? (config.caFile ? await readCa(config.caFile) : undefined);
  if (caPem === undefined) throw new Fault("invalid", "configuration: caPem or caFile is needed");
  let isRetrying = false;
  const directory = resolve(config.stateDir);
  const membership = {
    directory,
    controlUrls: config.controlUrls,
    caPem,
    role: "router" as const,
    name: config.name,
    token: async () => config.joinToken,
    log,
    signal,
    onRetry(error: unknown) {
      if (!isRetrying) log.warn({ err: error }, "join failed, trying until it works");
      isRetrying = true;
    },
  };
  const urlsOf = (target: RouterTarget) => knownUrls(config.controlUrls, target.controlUrls);
  await asMember(membership, async ({ identity, signal, onBreak }) => {
    const client = createClient({ urls: urlsOf(converger.target()), caPem, identity, hello: ownHello("router") });
    const followTargets = async () => {
      const options = { id: identity.id, known: converger.target(), onBreak, log, signal };
      for await (const target of targets(client, options)) {
        const { term, generation } = target;
        if (!converger.accept(target)) {
          log.warn({ term, generation }, "older target refused");
          continue;
        }
        client.useUrls(urlsOf(target));
        await setPeers(config, converger, log, signal);
      }
    };
    try {
      const { address } = config;
      const ports = [config.httpPort, config.httpsPort].filter((port) => port > 0);
      await Promise.all([
        followTargets(),
        requests.run(client, identity.id, signal),
        reportLoop({ client, id: identity.id, address, ports, converger, log, signal }),
        keepIdentity({
          identity,
          directory,
          client,
          onRenewed: ({ expiresAt }) => log.info({ expiresAt }, "certificate renewed"),
          onRetry: (error, expiresAt) =>
            log.warn({ err: error, expiresAt }, "certificate not renewed, it is tried again"),
          signal,
        }),
      ]);
    } finally {
      client.close();
    }
  });
}

async function keepPeers(config: Config, converger: Converger, log: Log, signal: AbortSignal): Promise<void> {
  for await (const _ of every(PEERS_EVERY_MS, signal)) await setPeers(config, converger, log, signal);
}

async function setPeers(config: Config, converger: Converger, log: Log, signal: AbortSignal): Promise<void> {
  const target = converger.target();
  if (!config.manageRoutes || target.term === 0) return;
  try {
    const commands = await applyPeers(target, signal);
    if (commands.length > 0) log.info({ commands }, "kernel routes set");
  } catch (error) {
    if (!signal.aborted) log.error({ err: error }, "kernel routes failed");
  }
}

async function explainRequest(config: Config, request: string): Promise<number> {
  const stateDir = resolve(config.stateDir);
  const { target, assignment } = await readKept(stateDir);
  if (!target || !assignment)
    throw new Fault("not-found", `no target is kept in ${stateDir}: has this router served yet?`);
  const slots = await ask(join(stateDir, "haproxy", "worker.sock"), "show servers state")
    .then(parseServersState)
    .catch(() => undefined);
  process.stdout.write(`${explain(request, { target, assignment, slots }).join("\n")}\n`);
  if (!slots) process.stderr.write("HAProxy does not answer; health of the slots is not known\n");
  return 0;
}

/** The account the workers run as: only root can change it, and only to one that exists. */
async function workerAccount(name: string): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const accounts = await readFile("/etc/passwd", "utf8");
  return accounts.split("\n").some((line) => line.startsWith(`${name}:`)) ? name : undefined;
}

// The control plane: read config, open the state, build the adapters, wire, run.
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { Fault } from "#api/fault.ts";
import { localDocker } from "#api/local-docker.ts";
import { removeUnfinished, writeFileInPlace } from "#lib/files.ts";
import { keepOldSpaceSmall } from "#lib/heap.ts";
import { createLog } from "#lib/log.ts";
import { portHolder } from "#lib/port-holder.ts";
import { causeChain, run } from "#lib/run.ts";
import { advertised } from "./advertised.ts";
import type { TlsIdentity } from "./api-server.ts";
import { keysNeeded, reseal } from "./apps/env-at-rest.ts";
import { loadControlConfig } from "./config.ts";
import { lasting } from "./disk/writing.ts";
import { firstStart } from "./first-start.ts";
import { openAuthority } from "./identity/authority.ts";
import { writeLocalJoinTokens } from "./identity/local-join.ts";
import { takeLocalTokens } from "./identity/local-token.ts";
import { issueOwn, keepOwn } from "./identity/own-certificates.ts";
import { pushRights } from "./push-rights.ts";
import { registry } from "./registry.ts";
import { registryPulls } from "./registry-pulls.ts";
import { registryPushes } from "./registry-pushes.ts";
import { stateCommand } from "./restore.ts";
import { noteRestored } from "./restored.ts";
import { hostArchitectures } from "./scheduler/architecture.ts";
import { openSecrets, SEALING_DIRECTORY } from "./secrets.ts";
import { unlessFull } from "./store/paused.ts";
import { openStore } from "./store/store.ts";
import { wireControl } from "./wire.ts";

async function main(signal: AbortSignal): Promise<void> {
  keepOldSpaceSmall();
  const config = loadControlConfig(process.argv[2] === "--config" ? process.argv[3] : undefined);
  const { stateDir } = config;
  const log = createLog("control", { level: config.logLevel });
  await removeUnfinished(stateDir, join(stateDir, "pki"), join(stateDir, "ca"), join(stateDir, "local-join"));
  const now = new Date();
  const failed = new AbortController();

  const store = await openStore({
    directory: join(stateDir, "store"),
    log,
    onFatal: (error) => failed.abort(error),
    salvage: config.salvage,
  });
  const authority = await openAuthority(join(stateDir, "ca"));
  const secrets = await openSecrets(join(stateDir, SEALING_DIRECTORY), keysNeeded(store));
  await reseal(store, secrets);
  const adminToken = await firstStart(store, config, now);
  const addresses = advertised(config.advertise, networkInterfaces());
  const own = { authority, addresses, directory: join(stateDir, "pki") };
  const identity = await issueOwn({ ...own, log });
  /** What a start writes; on a full disk, as soon as there is room. */
  const startWrites = async () => {
    await noteRestored(store, now);
    await writeLocalJoinTokens(store, config, now);
  };
  const isLate = store.paused !== undefined;
  if (!isLate) await startWrites();

  const images = await registry({
    address: config.registryPush,
    layersDirectory: config.registryDirectory,
    preferred: () => hostArchitectures(store),
    directory: join(stateDir, "registry-client"),
    identity,
    caPem: authority.caPem,
    log,
  });
  const docker = localDocker(config.dockerSocket);
  const control = wireControl({ store, config, authority, secrets, log, identity, images, docker, addresses });
  const { app, context } = control;

  const taken = (port: number) => async (cause: NodeJS.ErrnoException) => {
    if (cause.code !== "EADDRINUSE") throw cause;
    const holder = await portHolder("tcp", port);
    throw new Fault("unavailable", `port ${port} is taken${holder ? ` by ${holder.command} (pid ${holder.pid})` : ""}`);
  };
  await app.listen({ host: config.address, port: config.port }).catch(taken(config.port));
  const shown = { identity, caPem: authority.caPem };
  const rights = pushRights(store);
  const pushes = registryPushes({ ...context, ...shown, upstream: config.registryPush, images, rights });
  const pulls = registryPulls({ ...context, ...shown, upstream: config.registryRead, pushes });
  if (config.registryListen !== "") {
    const [host = "", port = ""] = config.registryListen.split(/:(?=\d+$)/);
    await pulls.listen(host, Number(port)).catch(taken(Number(port)));
  }
  log.info({ port: config.port, addresses, seq: store.seq, term: store.term, pin: authority.pin }, "control is up");
  const ready = JSON.stringify({
    pid: process.pid,
    url: context.controlUrls[0],
    pin: authority.pin,
    ...(adminToken ? { firstStart: true } : {}),
  });
  const readyFile = join(stateDir, "ready.json");
  await unlessFull(log, readyFile, writeFileInPlace(readyFile, ready));
  if (adminToken !== undefined)
    process.stdout.write(`${JSON.stringify({ adminToken, pin: authority.pin, url: context.controlUrls[0] })}\n`);

  try {
    const both = AbortSignal.any([signal, failed.signal]);
    const onRenewed = async (next: TlsIdentity) => {
      control.useIdentity(next);
      pulls.useIdentity(next);
      await images.useIdentity(next);
    };
    const notWritten = (error: unknown) =>
      log.error({ causes: causeChain(error) }, "what a start writes is not written until the next start");
    const loops = [
      control.run(both),
      keepOwn({ ...own, identity, onRenewed, log, signal: both }),
      takeLocalTokens({ store, stateDir, now: () => new Date(), log, signal: both }),
      ...(isLate ? [lasting(startWrites, { store, log, signal: both }).catch(notWritten)] : []),
    ];
    await Promise.all(loops.map((loop) => loop.catch((error: unknown) => failed.abort(error))));
  } finally {
    await pulls.close();
    await control.close();
    await store.close();
  }
  if (failed.signal.aborted) throw new Fault("internal", "control stops", { cause: failed.signal.reason });
}

run((signal) => stateCommand(process.argv.slice(2))?.() ?? main(signal));

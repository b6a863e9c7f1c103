// The control plane: read config, open the state, build the adapters, wire, run.
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { Fault } from "#api/fault.ts";
import { removeUnfinished, writeFileAtomic } from "#lib/files.ts";
import { createLog } from "#lib/log.ts";
import { portHolder } from "#lib/port-holder.ts";
import { run } from "#lib/run.ts";
import type { TlsIdentity } from "./api-server.ts";
import { keysNeeded, reseal } from "./apps/env-at-rest.ts";
import { type ControlConfig, loadControlConfig } from "./config.ts";
import { firstStart } from "./first-start.ts";
import { openAuthority } from "./identity/authority.ts";
import { writeLocalJoinTokens } from "./identity/local-join.ts";
import { issueOwn, keepOwn } from "./identity/own-certificates.ts";
import { localDocker } from "./local-docker.ts";
import { registry } from "./registry.ts";
import { stateCommand } from "./restore.ts";
import { openSecrets, SEALING_DIRECTORY } from "./secrets.ts";
import { openStore } from "./store/store.ts";
import { wireControl } from "./wire.ts";

async function main(signal: AbortSignal): Promise<void> {
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
  const addresses = advertised(config);
  const own = { authority, addresses, directory: join(stateDir, "pki") };
  const identity = await issueOwn(own);
  await writeLocalJoinTokens(store, config, now);

  const images = await registry({
    address: config.registryPush,
    layersDirectory: config.registryDirectory,
    directory: join(stateDir, "registry-client"),
    identity,
    caPem: authority.caPem,
  });
  const docker = localDocker(config.dockerSocket);
  const control = wireControl({ store, config, authority, secrets, log, identity, images, docker, addresses });
  const { app, context } = control;

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
    join(stateDir, "ready.json"),
    JSON.stringify({
      pid: process.pid,
      url: context.controlUrls[0],
      pin: authority.pin,
      ...(adminToken ? { firstStart: true } : {}),
    }),
  );
  if (adminToken !== undefined)
    process.stdout.write(`${JSON.stringify({ adminToken, pin: authority.pin, url: context.controlUrls[0] })}\n`);

  try {
    const both = AbortSignal.any([signal, failed.signal]);
    const onRenewed = async (next: TlsIdentity) => {
      control.useIdentity(next);
      await images.useIdentity(next);
    };
    const loops = [control.run(both), keepOwn({ ...own, identity, onRenewed, log, signal: both })];
    await Promise.all(loops.map((loop) => loop.catch((error: unknown) => failed.abort(error))));
  } finally {
    await control.close();
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

run((signal) => stateCommand(process.argv.slice(2))?.() ?? main(signal));

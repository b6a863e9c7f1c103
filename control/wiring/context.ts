// What control is made of that comes from outside of it, and what every part is given of that.
import { networkInterfaces } from "node:os";
import type { LocalDocker } from "#api/local-docker.ts";
import { type Hello, ownHello } from "#api/version.ts";
import { machineAddresses } from "#lib/address-ranges.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import type { TlsIdentity } from "../api-server.ts";
import { installersOf } from "../builds/installers.ts";
import type { ControlConfig } from "../config.ts";
import type { Context } from "../context.ts";
import type { Reading } from "../disk/floor.ts";
import { diskRoom } from "../disk/room.ts";
import type { Dial } from "../external/health.ts";
import type { Authority } from "../identity/authority.ts";
import { jobIndex } from "../job-index.ts";
import { openOwnLog } from "../logs/own-log.ts";
import { reaches } from "../network/reaches.ts";
import { presence } from "../presence.ts";
import type { Registry } from "../registry.ts";
import type { Secrets } from "../secrets.ts";
import type { Store } from "../store/store.ts";

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

export const monotonicMs = (): number => performance.now();

export const ownAddresses = ({ readAddresses }: ControlParts): (() => string[]) =>
  readAddresses ?? (() => machineAddresses(networkInterfaces()));

export function createContext(parts: ControlParts): Context {
  const { store, config, authority, secrets, log, addresses, readDisk } = parts;
  const now = () => new Date();
  const controlUrls = addresses.map((address) => `https://${address}:${config.port}`);
  return {
    store,
    config,
    authority,
    secrets,
    log,
    jobs: jobIndex(store),
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
    reaches: reaches({ store, config, controlUrls, monotonicMs, localAddresses: ownAddresses(parts)() }),
    registry: config.registry || `${addresses[0]}:5000`,
    installers: installersOf(config),
    controlUrls,
    hello: parts.hello ?? ownHello("control"),
    startedAt: now().toISOString(),
  };
}

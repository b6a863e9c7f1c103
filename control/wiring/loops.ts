// Every loop of control by its name, as the status and the alerts show it.

import type { Context } from "../context.ts";
import { watchWriting } from "../disk/writing.ts";
import { growSubnets } from "../identity/grow-subnets.ts";
import { imageSweeper } from "../image-sweep.ts";
import { pruneOwnLog } from "../logs/prune.ts";
import { keepOwnAddresses } from "../network/own-addresses.ts";
import { retentionLoop } from "../retention.ts";
import type { Actors } from "./actors.ts";
import { type ControlParts, ownAddresses } from "./context.ts";

type Loop = (signal: AbortSignal) => Promise<void>;

export function loopsOf(context: Context, parts: ControlParts, actors: Actors): Record<string, Loop> {
  const { store, log, now, room } = context;
  const { scheduler, hostLoop, deployer, logDrains, alerts, builds, git, tokens, external, orders } = actors;
  const read = ownAddresses(parts);
  const known = read();
  const sweeper = imageSweeper({ store, images: parts.images, log });
  return {
    scheduler: scheduler.run,
    hosts: hostLoop.run,
    deployments: deployer.run,
    drains: logDrains.run,
    alerts: alerts.run,
    logs: (signal) => pruneOwnLog(context, signal),
    disk: (signal) => room.run(signal),
    writing: (signal) => watchWriting({ store, log, now, signal }),
    builds: (signal) => builds.run(signal),
    git: (signal) => git.run(signal),
    tokens: tokens.run,
    external: external.run,
    orders: orders.run,
    addresses: (signal) => keepOwnAddresses({ store, known, read, log, signal }),
    subnets: (signal) => growSubnets({ store, isFree: scheduler.isFree, now, log, signal }),
    retention: (signal) => retentionLoop(store, { log, signal, images: sweeper }),
  };
}

// Loops that no job waits for: images that will be needed are there before, what nobody needs goes, and control hears of the disks
// and of what else the machine is made of.
import type { Client } from "#api/client.ts";
import type { Log } from "#lib/log.ts";
import type { Agent } from "./agent.ts";
import type { BootEventLog } from "./boot-events.ts";
import type { Engine } from "./engine/engine.ts";
import { reportInventory } from "./inventory/report.ts";
import type { LogStore } from "./logs/store.ts";
import { prefetchLoop, roomOf } from "./prefetch-loop.ts";
import { pruneLoop } from "./prune-loop.ts";
import { reportDisks } from "./state-disk/report.ts";

export interface UpkeepOptions {
  engine: Engine;
  agent: Pick<Agent, "target" | "jobs" | "used">;
  /** Images that builds need. */
  buildImages: () => Iterable<string>;
  logs: LogStore;
  healthy: () => boolean;
  client: Client;
  hostId: string;
  stateDir: string;
  runDir: string;
  events: BootEventLog;
  /** Something that control wants to know has changed. */
  onNote: () => void;
  log: Log;
}

export async function upkeep(options: UpkeepOptions, signal: AbortSignal): Promise<void> {
  const { engine, agent, buildImages, logs, healthy, client, hostId, stateDir, runDir, events, onNote, log } = options;
  const used = () => {
    const { images, logs: usedLogs } = agent.used();
    return { images: new Set([...images, ...buildImages()]), logs: usedLogs };
  };
  const isPulling = () =>
    agent.jobs().some(({ state, reason }) => state === "starting" && reason.startsWith("pulling image"));
  await Promise.all([
    reportDisks({ client, hostId, runDir, events, onNote, log, signal }),
    reportInventory({ client, hostId, runDir, log, signal }),
    prefetchLoop({
      ...{ engine, target: agent.target, healthy, pulling: isPulling, log, signal },
      room: () => roomOf(stateDir),
    }),
    pruneLoop({ engine, agent: { target: agent.target, used }, logs, healthy, log, signal }),
  ]);
}

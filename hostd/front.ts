// What a host answers to control and to its own jobs: logs, signals, and sessions with jobs.
import type { Log } from "#lib/log.ts";
import type { Agent } from "./agent.ts";
import type { EngineStreams } from "./engine/docker-streams.ts";
import type { Engine } from "./engine/engine.ts";
import { logRoute } from "./logs/route.ts";
import type { LogStore } from "./logs/store.ts";
import { type HostServer, type HostServerOptions, startHostServer } from "./server.ts";
import { reapLeftBehind } from "./sessions/exec.ts";
import type { JobChanges } from "./sessions/job-changes.ts";
import { sessions } from "./sessions/sessions.ts";
import { signalRoute } from "./sessions/signal-route.ts";
import type { JobStops } from "./stop/stop.ts";

export interface FrontOptions extends Pick<HostServerOptions, "identity" | "port"> {
  hostId: string;
  agent: Agent;
  engine: Engine;
  streams: EngineStreams;
  stops: JobStops;
  logs: LogStore;
  /** Jobs whose streams a client holds now: sessions write it. */
  attached: Set<string>;
  changed: JobChanges["changed"];
  log: Log;
}

export async function openFront(options: FrontOptions): Promise<HostServer> {
  const { hostId, agent, engine, streams, stops, logs, attached, changed, identity, port, log } = options;
  const reaped = await reapLeftBehind(hostId);
  if (reaped > 0) log.info({ processes: reaped }, "commands of an earlier run ended");
  const { open } = sessions({ agent, engine, streams, hostId, log, attached, changed });
  const routes = [logRoute({ store: logs }), signalRoute({ agent, engine, stops })];
  return startHostServer({ routes, open, identity, port, log });
}

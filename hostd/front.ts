// What a host answers: to control logs, signals, and sessions with jobs; to machines that boot beside it, the image it booted from.
import type { Log } from "#lib/log.ts";
import type { Agent } from "./agent.ts";
import type { EngineStreams } from "./engine/docker-streams.ts";
import type { Engine } from "./engine/engine.ts";
import { imagePeer } from "./image-peer.ts";
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
  /** Its own, where it gives its root image on. */
  address: string | undefined;
  log: Log;
}

export async function openFront(options: FrontOptions): Promise<HostServer> {
  const { hostId, agent, engine, streams, stops, logs, attached, changed, address, identity, port, log } = options;
  const reaped = await reapLeftBehind(hostId);
  if (reaped > 0) log.info({ processes: reaped }, "commands of an earlier run ended");
  const { open } = sessions({ agent, engine, streams, hostId, log, attached, changed });
  const routes = [logRoute({ store: logs }), signalRoute({ agent, engine, stops })];
  const server = await startHostServer({ routes, open, identity, port, log });
  // A machine that cannot give its image on is a host all the same.
  const peer = address
    ? await imagePeer({ address, log }).catch(
        (error: unknown) => void log.warn({ err: error }, "its root image is not given on"),
      )
    : undefined;
  return {
    ...server,
    async close() {
      await Promise.all([server.close(), peer?.close()]);
    },
  };
}

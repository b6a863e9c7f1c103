// The three faces of one Docker that a host works with; tests give others.
import { dockerBuildEngine } from "./builds/docker.ts";
import type { BuildEngine } from "./builds/engine.ts";
import { dockerEngine } from "./engine/docker.ts";
import { dockerStreams, type EngineStreams } from "./engine/docker-streams.ts";
import type { Engine } from "./engine/engine.ts";

export interface Engines {
  engine: Engine;
  buildEngine: BuildEngine;
  /** The streams of containers. */
  streams: EngineStreams;
}

export function dockerEngines(socketPath: string, given: Partial<Engines>): Engines {
  const {
    engine = dockerEngine({ socketPath }),
    buildEngine = dockerBuildEngine({ socketPath }),
    streams = dockerStreams({ socketPath }),
  } = given;
  return { engine, buildEngine, streams };
}

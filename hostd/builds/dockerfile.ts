import type { BuildResult } from "#api/builds.ts";
import { BuildFailure } from "./failure.ts";
import type { BuildRun } from "./run.ts";

export async function runDockerfile(_: BuildRun): Promise<BuildResult> {
  throw new BuildFailure("this host does not build Dockerfiles yet");
}

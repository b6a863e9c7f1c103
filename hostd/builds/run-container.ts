// One container of a build, from its start to its end: killed when the build is to end, its output read to the last line.
import type { BuildContainerState } from "./engine.ts";
import { followOutput } from "./output.ts";
import type { BuildRun } from "./run.ts";

export async function runToEnd(
  { parts, build, signal }: Pick<BuildRun, "parts" | "build" | "signal">,
  name: string,
  say: (line: string) => void,
): Promise<BuildContainerState> {
  const { jobEngine, engine, log } = parts;
  const kill = () =>
    void jobEngine
      .signal(name, "SIGKILL")
      .catch((error: unknown) => log.warn({ err: error, buildId: build.id }, "build was not ended"));
  try {
    await jobEngine.start(name);
    signal.addEventListener("abort", kill, { once: true });
    if (signal.aborted) kill();
    const state = await followOutput({ jobEngine, engine, name, say, signal });
    signal.throwIfAborted();
    return state;
  } finally {
    signal.removeEventListener("abort", kill);
  }
}

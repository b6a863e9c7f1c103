// /flynn/build of the builder image: `build [--root DIR] [--buildpacks DIR]`. The log of the build on standard output, its
// result in /out; exit 0 with a slug, 1 with the reason as the log's last ` !     ` line.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { run } from "#lib/run.ts";
import { build } from "./build.ts";
import { programConfig } from "./config.ts";
import { BuildFailure } from "./failure.ts";
import { placesBelow } from "./places.ts";
import { sayTo } from "./say.ts";

const STDOUT = 1;

run(async (signal) => {
  const { values } = parseArgs({
    options: {
      root: { type: "string", default: "/" },
      buildpacks: { type: "string", default: "/flynn/buildpacks" },
    },
  });
  const temporary = await mkdtemp(join(tmpdir(), "build-"));
  const places = placesBelow(values.root, values.buildpacks, temporary);
  const say = sayTo(STDOUT);
  const finish = async (result: object) => {
    await mkdir(dirname(places.result), { recursive: true });
    await writeFile(places.result, `${JSON.stringify(result)}\n`);
  };
  try {
    const built = await build({ places, say, outputFd: STDOUT, ...programConfig(), signal });
    await finish(built);
    return 0;
  } catch (error) {
    const reason = signal.aborted ? "the build was cancelled" : reasonOf(error);
    if (error instanceof BuildFailure && !signal.aborted) for (const detail of error.details) say.warn(detail);
    say.warn(reason);
    await finish({ reason: reason.slice(0, 4_000) }).catch(() => undefined); // a full disk: the log has the reason
    return 1;
  } finally {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
  }
});

function reasonOf(error: unknown): string {
  if (error instanceof BuildFailure) return error.message;
  if ((error as NodeJS.ErrnoException).code === "ENOSPC") return "the disk that this build may use is full";
  return `the build program failed: ${error instanceof Error ? error.message : String(error)}`;
}

// A build with the cluster's builder image: source in as an archive, the builder's output as log, the slug out as an archive.
import { json } from "node:stream/consumers";
import { type BuildResult, hostBuildSlug } from "#api/builds.ts";
import { isFault } from "#api/fault.ts";
import { singleFile } from "./archive.ts";
import { builderInput } from "./builder-input.ts";
import { cacheLabels, cacheVolume } from "./caches.ts";
import { BUILD_LABELS, type BuildContainerState } from "./engine.ts";
import { BuildFailure, containerFailure } from "./failure.ts";
import { installerFiles } from "./installers.ts";
import { type BuildRun, containerName } from "./run.ts";
import { runToEnd } from "./run-container.ts";
import { upload } from "./upload.ts";
import { watchLimits } from "./watch.ts";

const RESULT_MAX_BYTES = 1 << 20;
const SLUG_MAX_BYTES = 500 * 1024 ** 2;
const TAIL_LINES = 20;
const BUILDER_USER = "1000:1000";

interface BuilderResult {
  detected?: unknown;
  processes?: unknown;
  reason?: unknown;
}

export async function runBuildpacks(run: BuildRun): Promise<BuildResult> {
  const { parts, build, signal, onProgress } = run;
  const { jobEngine, engine } = parts;
  const { image, limits } = build;
  if (image === undefined) throw new BuildFailure("the cluster has no builder image: run `flynn stack build`");
  onProgress("starting", "pulling the builder image");
  await jobEngine.pull(image, signal);
  const facts = await engine.inspectImage(image);
  const volume = cacheVolume(build.cacheKey);
  await engine.ensureVolume(volume, cacheLabels(build));
  const name = containerName(build.id);
  const { build: buildLabel, app, appId } = BUILD_LABELS;
  onProgress("starting", "creating the build's container");
  await engine.createContainer({
    name,
    image,
    user: isRoot(facts?.user ?? "") ? BUILDER_USER : undefined,
    labels: { [buildLabel]: build.id, [app]: build.app, [appId]: build.appId },
    command: ["/flynn/build"],
    volumes: [{ volume, path: "/cache" }],
    dns: parts.dns,
    limits,
  });
  const authorities = await installerFiles(build.installers, { engine, container: name, signal });
  const input = builderInput(build, run.target.stack?.name ?? "flynn", run.sourceFile, authorities);
  await engine.put(name, input, signal);
  signal.throwIfAborted();
  const tail: string[] = [];
  const state = await runContainer(run, name, volume, (line) => {
    tail.push(line);
    if (tail.length > TAIL_LINES) tail.shift();
    run.say(line);
  });
  const result = await readResult(run, name);
  const failure = containerFailure({
    ...state,
    said: text(result.reason) ?? lastWarning(tail),
    limits,
    outputTail: tail.join("\n"),
  });
  if (failure) throw failure;
  onProgress("up", "sending the slug");
  await upload({
    ...parts,
    endpoint: hostBuildSlug,
    buildId: build.id,
    signal,
    open: async () => {
      const archive = await engine.get(name, "/out/slug.tar.gz", signal).catch((error: unknown) => {
        throw isFault(error, "not-found") ? new BuildFailure("the builder left no slug") : error;
      });
      return (await singleFile(archive, { what: "the slug", maxBytes: SLUG_MAX_BYTES })).body;
    },
    onRetry: (error) => parts.log.warn({ err: error, buildId: build.id }, "slug is sent again"),
  });
  return { exitCode: 0, reason: "", detected: text(result.detected)?.slice(0, 200), processes: processes(result) };
}

/** From start to end, within time and disk; its output is read to the end even when it was ended. */
async function runContainer(
  run: BuildRun,
  name: string,
  volume: string,
  say: (line: string) => void,
): Promise<BuildContainerState> {
  const { parts, build, fail } = run;
  const { engine } = parts;
  const cache = (await engine.volumes(BUILD_LABELS.cache)).find((found) => found.name === volume);
  const watch = watchLimits({
    limits: build.limits,
    usedBytes: async () => (await engine.writtenBytes(name)) + (cache ? await parts.treeBytes(cache.path) : 0),
    freeBytes: parts.freeBytes,
    floor: parts.floor,
    buildId: build.id,
    fail,
    onError: (error) => parts.log.warn({ err: error, buildId: build.id }, "the build's disk use is not known"),
  });
  try {
    run.onProgress("up", "");
    return await runToEnd(run, name, say);
  } finally {
    watch.stop();
  }
}

async function readResult({ parts, signal }: BuildRun, name: string): Promise<BuilderResult> {
  try {
    const archive = await parts.engine.get(name, "/out/result.json", signal);
    const { body } = await singleFile(archive, { what: "the builder's result", maxBytes: RESULT_MAX_BYTES });
    const found: unknown = await json(body);
    return typeof found === "object" && found !== null ? found : {};
  } catch (error) {
    signal.throwIfAborted();
    if (isFault(error, "not-found") || error instanceof SyntaxError || error instanceof BuildFailure) return {};
    throw error;
  }
}

const PROCESS_NAME = /^(?!constructor$)[a-z][a-z0-9_-]{0,29}$/;

/** The builder runs the app's own code, so its result is checked as a stranger's. */
function processes({ processes: found }: BuilderResult): Record<string, string> {
  if (typeof found !== "object" || found === null) return {};
  return Object.fromEntries(
    Object.entries(found)
      .filter((entry): entry is [string, string] => PROCESS_NAME.test(entry[0]) && typeof entry[1] === "string")
      .filter(([, line]) => line.length <= 4096)
      .slice(0, 64),
  );
}

const text = (value: unknown): string | undefined =>
  typeof value === "string" && value.trim() !== "" ? value.trim().slice(0, 1_000) : undefined;

const lastWarning = (tail: readonly string[]): string | undefined =>
  text(tail.findLast((line) => line.startsWith(" !     "))?.slice(7));

const isRoot = (user: string): boolean => /^(|0+|root)(:.*)?$/.test(user.trim());

// A build with Docker's own builder, driven step by step under the build's limits; the image goes to control as an archive. One at
// a time on a host: Docker does not say which build a step's container belongs to, and so all of them are this one's.
import { type BuildResult, hostBuildImage } from "#api/builds.ts";
import { limiter } from "../singleflight.ts";
import { type BaseImages, fetchBaseImages } from "./base-images.ts";
import { leaves } from "./cache-keeper.ts";
import { cacheKeyOf } from "./caches.ts";
import { dockerContext, readSource } from "./context.ts";
import { readOutput } from "./dockerfile-output.ts";
import { type DockerfilePlan, planDockerfile } from "./dockerfile-plan.ts";
import { DockerfileError } from "./dockerfile-syntax.ts";
import type { BuildMessage } from "./engine.ts";
import { BuildFailure, limitHint, memoryReason } from "./failure.ts";
import { cacheName, isUnnamed } from "./image-reference.ts";
import { dockerfileArgs } from "./installers.ts";
import { pushImage } from "./push-image.ts";
import type { BuildRun, RunBuild } from "./run.ts";
import { upload } from "./upload.ts";
import { watchLimits } from "./watch.ts";

const PLATFORMS: Readonly<Record<string, string>> = { x64: "linux/amd64", arm64: "linux/arm64" };

export function dockerfileBuilds({ use }: Pick<BaseImages, "use"> = {}): RunBuild {
  const turn = limiter(1);
  const bases: BaseImages = { checked: new Map(), ...(use === undefined ? {} : { use }) };
  return (run) => {
    run.onProgress("starting", "waiting for another Dockerfile build on this host");
    return turn(() => runDockerfile(run, bases), run.signal);
  };
}

async function runDockerfile(run: BuildRun, bases: BaseImages): Promise<BuildResult> {
  const { parts, build, signal, onProgress, sourceFile } = run;
  const { engine } = parts;
  const { path } = build.dockerfile;
  const own = `${path}.dockerignore`;
  const texts = await readSource(sourceFile, [path, own, ".dockerignore"]);
  const plan = planOf(run, texts.get(path));
  await fetchBaseImages(plan, run, bases);
  const ignore = texts.get(own) ?? texts.get(".dockerignore") ?? "";
  const context = dockerContext({ file: sourceFile, dockerfile: { path, text: plan.text }, ignore });
  const output = readOutput(plan.steps);
  onProgress("up", "");
  const image = await buildImage(run, output, context, plan.text);
  // The one before loses the name, and goes with what it alone was made of.
  await engine.tagImage(image, cacheName(build.cacheKey));
  await dropOldLayers(run, output.images, image);
  onProgress("up", "sending the image");
  const onRetry = (error: unknown) => parts.log.warn({ err: error, buildId: build.id }, "image is sent again");
  if (build.pushTo !== undefined) await pushImage({ engine, image, name: build.pushTo, signal, onRetry });
  else
    await upload({
      ...parts,
      endpoint: hostBuildImage,
      buildId: build.id,
      signal,
      open: () => engine.saveImage(image, signal),
      onRetry,
    });
  return { exitCode: 0, reason: "", detected: "Dockerfile" };
}

function planOf({ build }: BuildRun, text: string | undefined): DockerfilePlan {
  const { path, args } = build.dockerfile;
  if (text === undefined) throw new BuildFailure(`the source has no file ${path}`);
  try {
    const platform = PLATFORMS[process.arch] ?? `linux/${process.arch}`;
    return planDockerfile({ text, args, cacheKey: build.cacheKey, platform });
  } catch (error) {
    if (error instanceof DockerfileError) throw new BuildFailure(`${path}: ${error.message}`);
    throw error;
  }
}

async function buildImage(
  run: BuildRun,
  output: ReturnType<typeof readOutput>,
  context: ReturnType<typeof dockerContext>,
  text: string,
): Promise<string> {
  const { parts, build, signal, fail, say } = run;
  const { engine, log } = parts;
  const { limits, dockerfile } = build;
  const startMs = Date.now();
  const watch = watchLimits({
    limits,
    usedBytes: () => usedBytes(run, startMs),
    freeBytes: parts.freeBytes,
    floor: parts.floor,
    buildId: build.id,
    fail,
    onError: (error) => log.warn({ err: error, buildId: build.id }, "the build's disk use is not known"),
  });
  const over = new AbortController();
  const starved: string[] = [];
  const followMemory = async (): Promise<void> => {
    for await (const id of engine.outOfMemory(over.signal)) starved.push(id);
  };
  followMemory().catch((error: unknown) => {
    if (!over.signal.aborted) log.warn({ err: error }, "deaths for memory are not known");
  });
  let image: string | undefined;
  let container = "";
  let broken: BuildMessage | undefined;
  const options = {
    dockerfile: dockerfile.path,
    ...(dockerfile.target === undefined ? {} : { target: dockerfile.target }),
    args: dockerfileArgs(build.installers, { args: dockerfile.args, text }),
    // None of this build: it would be a step of its own, and another image each time.
    labels: {},
    limits,
  };
  try {
    for await (const message of engine.build(options, context, signal)) {
      if (message.aux?.ID !== undefined) image = message.aux.ID;
      if (message.error !== undefined) broken = message;
      for (const found of output.read(message.stream ?? "")) {
        found.lines.forEach(say);
        if (found.container === undefined) continue;
        container = found.container;
        await engine.limitPids(container, limits.pids);
      }
    }
    for (const found of output.read("\n")) found.lines.forEach(say);
    signal.throwIfAborted();
    if (broken)
      throw stepFailure(
        run,
        broken,
        output,
        starved.some((id) => id.startsWith(container || "-")),
      );
    if (image === undefined) throw new BuildFailure("Docker's build ended without an image");
    return image;
  } finally {
    watch.stop();
    over.abort();
    context.destroy();
    // A build that was ended may leave the container of its step behind.
    for (const { id } of await engine.buildSteps().catch(() => [])) await parts.jobEngine.remove(id);
  }
}

function stepFailure(
  { build }: BuildRun,
  { error = "", errorDetail }: BuildMessage,
  output: ReturnType<typeof readOutput>,
  outOfMemory: boolean,
): BuildFailure {
  const { limits } = build;
  const message = (errorDetail?.message ?? error).trim().slice(0, 1_000);
  const code = errorDetail?.code ?? Number(/returned a non-zero code: (\d+)$/.exec(message)?.[1] ?? 0);
  if (code === 0) return new BuildFailure(message.replace(/^failed to build: /, ""));
  if (outOfMemory) return new BuildFailure(memoryReason(limits.memoryBytes), { exitCode: 137 });
  const step =
    output
      .step()
      ?.replace(/\s*\n\s*/g, " ")
      .slice(0, 200) ?? message;
  return new BuildFailure(`${step} failed with exit code ${code}${limitHint(output.tail(), limits.pids)}`, {
    exitCode: code,
  });
}

/** Layers made since the start of the build, and what its running step has written. */
async function usedBytes({ parts, build }: BuildRun, startMs: number): Promise<number> {
  const [steps, images] = [await parts.engine.buildSteps(), await parts.engine.images()];
  const byId = new Map(images.map((image) => [image.id, image]));
  let total = 0;
  for (const { id } of steps) total += await parts.engine.writtenBytes(id);
  for (const image of images) {
    const parent = byId.get(image.parentId);
    if (image.createdAtMs < startMs - 1_000 || cacheKeyOf(image, byId) !== build.cacheKey) continue;
    total += Math.max(0, image.sizeBytes - (parent?.sizeBytes ?? 0));
  }
  return total;
}

/** An app's cache is what its last build was made of. */
async function dropOldLayers({ parts, build }: BuildRun, seen: ReadonlySet<string>, image: string): Promise<void> {
  const images = await parts.engine.images();
  const byId = new Map(images.map((one) => [one.id, one]));
  const old = leaves(images).filter(
    (one) =>
      one.id !== image &&
      isUnnamed(one.refs) &&
      cacheKeyOf(one, byId) === build.cacheKey &&
      !seen.has(one.id.replace("sha256:", "").slice(0, 12)),
  );
  for (const { id } of old) await parts.engine.removeImage(id, { keepParents: false });
}

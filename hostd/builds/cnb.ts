// A build with Cloud Native Buildpacks: the lifecycle of the app's own builder image, phase by phase, each in a container of its
// own that sees and reaches what the phase needs. No registry and no credential is near any of them: images come and go as files.
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { type BuildResult, hostBuildImage } from "#api/builds.ts";
import { isFault } from "#api/fault.ts";
import { singleFile } from "./archive.ts";
import { cacheLabels, cacheVolume } from "./caches.ts";
import { CNB_AUTHORITIES, cnbInput } from "./cnb-input.ts";
import { layoutArchive, readImage } from "./cnb-output.ts";
import {
  APP_LAYOUT,
  builderUser,
  CNB_VOLUMES,
  type CnbPhase,
  type CnbUser,
  type CnbVolume,
  cnbEnv,
  cnbPhases,
  exitReason,
  namedRunImage,
  platformApi,
} from "./cnb-plan.ts";
import { type Project, projectOf } from "./cnb-project.ts";
import { readSource } from "./context.ts";
import { BUILD_LABELS } from "./engine.ts";
import { BuildFailure, containerFailure } from "./failure.ts";
import { installerFiles, installerVariables } from "./installers.ts";
import { type BuildRun, containerName } from "./run.ts";
import { runToEnd } from "./run-container.ts";
import { upload } from "./upload.ts";
import { watchLimits } from "./watch.ts";

const PROJECT = "project.toml";
const TAIL_LINES = 20;
const GROUP_MAX_BYTES = 1 << 20;

interface Cnb extends BuildRun {
  user: CnbUser;
  image: string;
  runImage: string;
  project: Project;
  /** What is said to each phase. */
  env: Record<string, string>;
  /** Of this build or its app, by what it is for. */
  volumes: Record<CnbVolume, string>;
}

export async function runCnb(run: BuildRun): Promise<BuildResult> {
  const { parts, build, signal, onProgress, say } = run;
  const { jobEngine, engine } = parts;
  const { image, runImage } = build;
  if (image === undefined) throw new BuildFailure("the app has no builder image: run `flynn build builder upload`");
  if (runImage === undefined) throw new BuildFailure("the app has no run image: run `flynn stack build`");
  onProgress("starting", "pulling the builder image");
  await jobEngine.pull(image, signal);
  onProgress("starting", "pulling the run image");
  await jobEngine.pull(runImage, signal);
  const facts = await engine.inspectImage(image);
  if (facts === undefined) throw new Error("the builder image is gone");
  const user = builderUser(facts);
  const api = platformApi(facts);
  if (api.warning !== undefined) say(` !     Warning: ${api.warning}`);
  const made = namedRunImage(facts);
  if (runImage === run.target.stack?.runner && made !== undefined)
    say(` !     Warning: the builder is made for the run image ${made}; its apps run on the cluster's stack`);
  const project = projectOf((await readSource(run.sourceFile, [PROJECT])).get(PROJECT), facts);
  for (const words of project.words) say(`       ${words}`);
  const env = cnbEnv(api.version);
  const cnb: Cnb = { ...run, user, image, runImage, project, env, volumes: await makeVolumes(run) };
  await prepare(cnb);
  onProgress("up", "");
  await runPhases(cnb);
  const read = (path: string) => readOut(cnb, `${APP_LAYOUT}/${path}`);
  const { buildpacks, processes, leftOut, manifest } = await readImage(read);
  for (const name of leftOut)
    say(` !     Warning: process type ${name} is left out: an app has none of that name or length`);
  onProgress("up", "sending the image");
  await upload({
    ...parts,
    endpoint: hostBuildImage,
    buildId: build.id,
    signal,
    open: async () => layoutArchive(await readOut(cnb, APP_LAYOUT), manifest),
    onRetry: (error) => parts.log.warn({ err: error, buildId: build.id }, "image is sent again"),
  });
  return { exitCode: 0, reason: "", detected: buildpacks.join(", ").slice(0, 200), processes };
}

async function makeVolumes({ parts, build }: BuildRun): Promise<Cnb["volumes"]> {
  const name = (of: CnbVolume) => (of === "cache" ? cacheVolume(build.cacheKey) : `${containerName(build.id)}-${of}`);
  for (const of of CNB_VOLUMES) await parts.engine.ensureVolume(name(of), { [BUILD_LABELS.build]: build.id });
  await parts.engine.ensureVolume(name("cache"), cacheLabels(build));
  return Object.fromEntries([...CNB_VOLUMES, "cache" as const].map((of) => [of, name(of)])) as Cnb["volumes"];
}

const labelsOf = ({ build }: BuildRun) => ({
  [BUILD_LABELS.build]: build.id,
  [BUILD_LABELS.app]: build.app,
  [BUILD_LABELS.appId]: build.appId,
});

/** A container that is never started: what goes into the volumes and comes out of them passes through it. */
async function prepare(cnb: Cnb): Promise<void> {
  const { parts, build, signal, user, image, runImage, project, volumes, onProgress, sourceFile } = cnb;
  const name = containerName(build.id);
  onProgress("starting", "creating the build's volumes");
  await parts.engine.createContainer({
    name,
    image,
    user: `${user.uid}:${user.gid}`,
    labels: labelsOf(cnb),
    command: ["/cnb/lifecycle/launcher"],
    volumes: mounts(volumes, [...CNB_VOLUMES, "cache"]),
    network: "none",
    dns: [],
    limits: build.limits,
  });
  const base = await parts.engine.inspectImage(runImage);
  if (base === undefined) throw new Error("the run image is gone");
  const saved = await parts.engine.saveImage(base.id, signal);
  const authorities = await installerFiles(build.installers, { engine: parts.engine, container: name, signal });
  // The operator's are of the cluster, those of project.toml of the source, the app's own of the moment.
  const env = { ...installerVariables(build.installers, `/${CNB_AUTHORITIES}`), ...project.env, ...build.env };
  const input = cnbInput({ user, env, sourceFile, project, runImage: saved, authorities });
  await parts.engine.put(name, input, signal);
  signal.throwIfAborted();
}

async function runPhases(cnb: Cnb): Promise<void> {
  const { parts, build, fail, say } = cnb;
  const { engine, log } = parts;
  const own = new Set(Object.values(cnb.volumes));
  const found = [...(await engine.volumes(BUILD_LABELS.build)), ...(await engine.volumes(BUILD_LABELS.cache))];
  const paths = found.filter(({ name }) => own.has(name)).map(({ path }) => path);
  let running = containerName(build.id);
  const usedBytes = async (): Promise<number> => {
    const sizes = await Promise.all([engine.writtenBytes(running), ...paths.map((path) => parts.treeBytes(path))]);
    return sizes.reduce((sum, size) => sum + size, 0);
  };
  const watch = watchLimits({
    limits: build.limits,
    usedBytes,
    freeBytes: parts.freeBytes,
    floor: parts.floor,
    buildId: build.id,
    fail,
    onError: (error) => log.warn({ err: error, buildId: build.id }, "the build's disk use is not known"),
  });
  try {
    for (const phase of cnbPhases(cnb.user, { order: cnb.project.order !== undefined })) {
      running = `${containerName(build.id)}-${phase.name}`;
      if (phase.step !== undefined) say(`-----> ${phase.step}`);
      await runPhase(cnb, phase, running);
      if (phase.name === "detector") await refuseExtensions(cnb);
    }
  } finally {
    watch.stop();
  }
}

async function runPhase(cnb: Cnb, phase: CnbPhase, name: string): Promise<void> {
  const { parts, build, signal, user, image, env, volumes, say } = cnb;
  await parts.engine.createContainer({
    name,
    image,
    user: `${user.uid}:${user.gid}`,
    labels: labelsOf(cnb),
    command: phase.command,
    volumes: mounts(volumes, phase.volumes),
    env,
    ...(phase.network ? {} : { network: "none" }),
    dns: phase.network ? parts.dns : [],
    limits: build.limits,
  });
  signal.throwIfAborted();
  const tail: string[] = [];
  const state = await runToEnd(cnb, name, (line) => {
    tail.push(line);
    if (tail.length > TAIL_LINES) tail.shift();
    if (phase.step !== undefined) say(shown(line));
  });
  const reason = exitReason(phase.name, state.exitCode);
  const failure = containerFailure({ ...state, said: reason, limits: build.limits, outputTail: tail.join("\n") });
  // What a phase without a step has printed matters only now.
  if (failure && phase.step === undefined) for (const line of tail) say(shown(line));
  if (failure) throw failure;
  await parts.jobEngine.remove(name);
}

/** A line of the lifecycle or a buildpack in the grammar of a push. */
const shown = (line: string): string => {
  if (/^(-----> | ! {5}| {7}|$)/.test(line)) return line;
  return line.startsWith("ERROR: ") ? ` !     ${line.slice("ERROR: ".length)}` : `       ${line}`;
};

/** An extension's Dockerfile would be run as root by a phase that is not run here; without it the image would lack what it adds. */
async function refuseExtensions(cnb: Cnb): Promise<void> {
  const archive = await readOut(cnb, "layers/group.toml");
  const { body } = await singleFile(archive, { what: "the list of buildpacks", maxBytes: GROUP_MAX_BYTES });
  if (/^\s*\[\[\s*group-extensions\s*\]\]/m.test((await buffer(body)).toString("utf8")))
    throw new BuildFailure("the builder's image extensions fit this source, and those are not run here");
}

function readOut({ parts, build, signal }: Cnb, path: string): Promise<Readable> {
  return parts.engine.get(containerName(build.id), `/${path}`, signal).catch((error: unknown) => {
    throw isFault(error, "not-found") ? new BuildFailure(`the builder's lifecycle left no ${path}`) : error;
  });
}

const mounts = (volumes: Cnb["volumes"], of: readonly CnbVolume[]) =>
  of.map((name) => ({ volume: volumes[name], path: `/${name}` }));

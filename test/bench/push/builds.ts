// Pushes that are really built: one appliance and one host in a lab of namespaces, a Node.js app by its buildpack, and an app with a
// Dockerfile against plain `docker build` of the same files by the same dockerd, the base image there and the cache warm for both.
import { join } from "node:path";
import process from "node:process";
import type { Build } from "#api/builds.ts";
import { addHost, type ClusterHost, startAppliance } from "../../lab/appliance.ts";
import { developer, type Work } from "../../lab/developer.ts";
import { type Scope, withScope } from "../../lab/scope.ts";
import { stackArchives } from "../../lab/stack-archives.ts";
import { ask } from "../../lab/survival/cluster.ts";

export interface BuildsOptions {
  rounds: number;
  /** Which of the two; both unless given. */
  apps?: readonly string[];
  log: (line: string) => void;
  signal: AbortSignal | undefined;
}

export interface Measured {
  figures: Record<string, number>;
  ratios: Record<string, number>;
}

const STACK_MS = 600_000;
const DOCKER_BUILD_MS = 120_000;

export async function realBuilds(options: BuildsOptions): Promise<Measured> {
  const { log, signal } = options;
  await stackArchives({ say: log, ...(signal ? { signal } : {}) });
  return withScope(
    async (scope) => {
      signal?.addEventListener("abort", () => void scope.close(), { once: true });
      return await measure(scope, options);
    },
    { signals: false },
  );
}

async function measure(
  scope: Scope,
  { rounds, log, signal, apps = ["node", "docker"] }: BuildsOptions,
): Promise<Measured> {
  const appliance = await startAppliance(scope);
  const host = await addHost(scope, appliance, 1);
  await appliance.flynn(["stack", "build", "--offline"], { timeoutMs: STACK_MS });
  const dev = await developer(appliance, join(scope.folder, "work"));
  const figures: Record<string, number> = {};
  const ratios: Record<string, number> = {};

  /** One push, in milliseconds by phase. */
  const push = async (app: string, work: Work): Promise<Record<string, number>> => {
    signal?.throwIfAborted();
    const startedMs = Date.now();
    const { code, stderr } = await work.git("push", "flynn", "main");
    if (code !== 0) throw new Error(`git push of ${app}: ${stderr}`);
    const wholeMs = Date.now() - startedMs;
    const { items } = await ask<{ items: Build[] }>(appliance, "GET", `/v1/apps/${app}/builds?limit=1`);
    const { createdAt, builtAt, finishedAt } = items[0]!;
    const at = (time: string | undefined) => Date.parse(time ?? "");
    return {
      Whole: wholeMs,
      Taken: at(createdAt) - startedMs,
      Build: at(builtAt) - at(createdAt),
      Deploy: at(finishedAt) - at(builtAt),
    };
  };

  for (const app of apps) {
    const work = await dev.work(app);
    const created = await work.flynn("create", app);
    if (created.code !== 0) throw new Error(`flynn create: ${created.stderr}`);
    for (const [phase, ms] of Object.entries(await push(app, work))) figures[`${app}First${phase}Ms`] = ms;
    log(`${app}: first push ${figures[`${app}FirstWholeMs`]} ms`);
    const again: Record<string, number[]> = {};
    for (let round = 1; round <= rounds; round++) {
      await work.commit(`change ${round}`, { "change.txt": `${round}\n` });
      const phases = await push(app, work);
      if (app === "docker") phases["DockerBuild"] = await dockerBuild(host, work);
      for (const [phase, ms] of Object.entries(phases)) again[phase] = [...(again[phase] ?? []), ms];
      log(
        `${app}: change ${round} of ${rounds}: ${Object.entries(phases)
          .map(([phase, ms]) => `${phase} ${ms}`)
          .join(", ")} ms`,
      );
    }
    for (const [phase, all] of Object.entries(again)) figures[`${app}Again${phase}Ms`] = median(all);
  }
  ratios["dockerBuild"] = figures["dockerAgainDockerBuildMs"]! / figures["dockerAgainBuildMs"]!;
  return { figures, ratios };
}

/** `docker build` as who types it waits for it, in milliseconds. The base image is there since our own first build. */
async function dockerBuild(host: ClusterHost, work: Work): Promise<number> {
  const startedMs = performance.now();
  await host.exec(["docker", "build", "--quiet", work.folder], { timeoutMs: DOCKER_BUILD_MS, env: process.env });
  return Math.round(performance.now() - startedMs);
}

const median = (values: number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;

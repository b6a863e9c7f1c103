// This host's builds: begins what the target names, ends what it no longer wants, tells control how each went, and leaves
// nothing behind. A build does not outlive its hostd: what an earlier one left is ended and reported as failed.
import { join } from "node:path";
import type { BuildResult, BuildSpec } from "#api/builds.ts";
import type { HostTarget } from "#api/host-agents.ts";
import type { JobReport } from "#api/jobs.ts";
import { backoffMs } from "#lib/retry.ts";
import { joined, sleep } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";
import { limiter } from "../singleflight.ts";
import { runBuildpacks } from "./buildpacks.ts";
import { keepCaches } from "./cache-keeper.ts";
import { runCnb } from "./cnb.ts";
import { dockerfileBuilds } from "./dockerfile.ts";
import { BuildFailure, reasonOf } from "./failure.ts";
import { removeLeftovers } from "./leftovers.ts";
import { sendLog } from "./log-sender.ts";
import { type BuildRecord, buildReport, loadBuilds, saveBuilds } from "./records.ts";
import { sendResult } from "./result-sender.ts";
import { type BuildParts, type BuildRun, containerName, type RunBuild } from "./run.ts";
import { fetchSource, removeSpool } from "./spool.ts";

export interface BuildsOptions extends Omit<BuildParts, "dns"> {
  stateDir: string;
  dns: (target: HostTarget) => string[];
  healthy: () => boolean;
  /** Makes the builds' network, once the rules for it are in force; nothing runs before. */
  prepareNetwork: (signal: AbortSignal) => Promise<void>;
  /** Something that control wants to know has changed. */
  onChange: () => void;
  signal: AbortSignal;
  /** Builds at once. */
  parallel?: number;
  cacheMaxBytes?: number;
}

export interface Builds {
  setTarget(target: HostTarget): void;
  jobs(): JobReport[];
  /** Images that must stay. */
  images(): Set<string>;
  /** The engine works again. */
  wake(): void;
  run(): Promise<void>;
}

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/;
const CANCELLED = 130;
const LOG_PATIENCE_MS = 60_000;

export function createBuilds(options: BuildsOptions): Builds {
  const { engine, jobEngine, client, hostId, stateDir, healthy, onChange, log, signal, parallel = 4 } = options;
  const spoolDir = join(stateDir, "builds");
  const records = new Map<string, BuildRecord>();
  const running = new Map<string, { controller: AbortController; done: Promise<void> }>();
  /** Builds of which something was found at the start, and no record. */
  const orphans = new Set<string>();
  const wake = createWake();
  const slots = limiter(parallel);
  const caches = keepCaches({ engine, stateDir, treeBytes: options.treeBytes, log, maxBytes: options.cacheMaxBytes });
  let target: HostTarget | undefined;
  let recovered = false;
  let saving = Promise.resolve();

  const save = (): void => {
    saving = saving
      .then(() => saveBuilds(stateDir, [...records.values()]))
      .catch((error: unknown) => log.error({ err: error }, "build records not kept on disk"));
  };
  const put = (id: string, fields: Partial<BuildRecord>): void => {
    const before = records.get(id);
    if (before === undefined) return;
    const record = { ...before, ...fields };
    if (JSON.stringify(before) === JSON.stringify(record)) return;
    records.set(id, record);
    save();
    onChange();
  };

  /** Everything of a build that is not its result. */
  const clean = async (id: string): Promise<void> => {
    await removeSpool(join(spoolDir, id));
    await jobEngine.remove(containerName(id));
    await removeLeftovers(options, { buildId: id });
  };

  const runOf: Record<BuildSpec["kind"], RunBuild> = {
    buildpacks: runBuildpacks,
    dockerfile: dockerfileBuilds({ use: caches.useBase }),
    cnb: runCnb,
  };

  const work = async (build: BuildSpec, current: HostTarget, controller: AbortController): Promise<BuildResult> => {
    const until = joined(signal, controller.signal);
    const ended = until.signal;
    const sourceFile = join(spoolDir, build.id, "source.tar");
    const sender = sendLog({ client, hostId, buildId: build.id, signal });
    const onProgress: BuildRun["onProgress"] = (state, reason) => {
      if (ended.aborted) return;
      const upAt = records.get(build.id)?.upAt ?? (state === "up" ? new Date().toISOString() : undefined);
      put(build.id, { state, reason, upAt });
    };
    try {
      if (!NAME.test(build.cacheKey)) throw new BuildFailure("its cache has no proper name");
      onProgress("starting", "waiting for other builds on this host");
      return await slots(async () => {
        onProgress("starting", "fetching the source");
        const begun = [
          fetchSource({ client, hostId, build, path: sourceFile, signal: ended }),
          options.prepareNetwork(ended),
          caches.use(build),
        ];
        // All of them first: what is cleaned up after a failure is not written to any more.
        for (const one of await Promise.allSettled(begun)) if (one.status === "rejected") throw one.reason;
        const run: BuildRun = {
          parts: { ...options, dns: options.dns(current) },
          target: current,
          build,
          sourceFile,
          say: sender.write,
          onProgress,
          signal: ended,
          fail: (failure) => controller.abort(failure),
        };
        return await runOf[build.kind](run);
      }, ended);
    } catch (error) {
      // What ended it counts, not what that made fail.
      const { exitCode, reason } = reasonOf(controller.signal.aborted ? controller.signal.reason : error);
      log.info({ err: error, buildId: build.id, app: build.app, reason }, "build failed");
      return { exitCode, reason };
    } finally {
      until.release();
      if (!signal.aborted) await sender.end(LOG_PATIENCE_MS);
    }
  };

  const tell = async (id: string, result: BuildResult): Promise<void> => {
    put(id, { result });
    await sendResult({ client, hostId, buildId: id, result, isNamed: () => records.has(id), log, signal });
  };
  const over = (id: string, { reason }: BuildResult): void => {
    if (!signal.aborted) put(id, { state: "down", reason });
  };

  const cleanUntilDone = async (id: string): Promise<void> => {
    for (let failures = 1; ; failures++) {
      try {
        return await clean(id);
      } catch (error) {
        if (signal.aborted || failures > 20) {
          log.error({ err: error, buildId: id }, "something of a build is left; the next start removes it");
          return;
        }
        await sleep(backoffMs(failures, 500, 5_000), signal);
      }
    }
  };

  const begin = (build: BuildSpec, current: HostTarget): void => {
    const { id, jobId, app, desired } = build;
    const now = new Date().toISOString();
    records.set(id, { id, jobId, app, state: "starting", reason: "", startedAt: now });
    save();
    onChange();
    const controller = new AbortController();
    if (desired === "stop") controller.abort(cancelled());
    const life = async (): Promise<void> => {
      const result = orphans.has(id) ? lostToRestart() : await work(build, current, controller);
      // Ended by hostd's own end: the next one tells. Whoever waits for the build does not wait for what it leaves to be taken away.
      if (!signal.aborted) await tell(id, result);
      await cleanUntilDone(id);
      over(id, result);
      if (signal.aborted) return;
      await caches.prune(inUse()).catch((error: unknown) => log.warn({ err: error }, "build caches not pruned"));
    };
    log.info({ buildId: id, jobId, app, kind: build.kind }, "build begins");
    const done = life()
      .catch((error: unknown) => log.error({ err: error, buildId: id }, "build runner failed"))
      .finally(() => {
        running.delete(id);
        wake.ring();
      });
    running.set(id, { controller, done });
  };

  const cancelled = () => new BuildFailure("cancelled", { exitCode: CANCELLED });
  const inUse = () =>
    new Set((target?.builds ?? []).filter(({ id }) => running.has(id)).map(({ cacheKey }) => cacheKey));

  const follow = (current: HostTarget): void => {
    const wanted = new Map((current.builds ?? []).filter(isProper).map((build) => [build.id, build]));
    for (const build of wanted.values()) if (!records.has(build.id)) begin(build, current);
    for (const [id, record] of records) {
      const build = wanted.get(id);
      const active = running.get(id);
      if (active && build?.desired !== "run" && !active.controller.signal.aborted) {
        log.info({ buildId: id, jobId: record.jobId }, "build is cancelled");
        active.controller.abort(cancelled());
        if (record.result === undefined) put(id, { state: "stopping", reason: "cancelled" });
      }
      if (build === undefined && !active) {
        records.delete(id);
        save();
        onChange();
      }
    }
  };

  /** What an earlier hostd left: nothing of it runs on, and control hears of it. */
  const recover = async (): Promise<void> => {
    const kept = await loadBuilds(stateDir);
    await removeLeftovers(options, { onFound: (id) => orphans.add(id) });
    await removeSpool(spoolDir);
    for (const record of kept) {
      records.set(record.id, record);
      if (record.state === "down") continue;
      const result = record.result ?? lostToRestart();
      const told = tell(record.id, result).then(() => over(record.id, result));
      const done = told.finally(() => {
        running.delete(record.id);
        wake.ring();
      });
      running.set(record.id, { controller: new AbortController(), done });
    }
    if (orphans.size > 0) log.info({ builds: orphans.size }, "leftovers of builds removed");
  };

  return {
    setTarget(next) {
      target = next;
      wake.ring();
    },
    wake: wake.ring,
    jobs: () => [...records.values()].map(buildReport),
    images: () =>
      new Set([
        ...(target?.builds ?? []).flatMap(({ image, runImage }) =>
          [image, runImage].filter((ref) => ref !== undefined),
        ),
        ...(target?.stack ? [target.stack.builder, target.stack.runner] : []),
      ]),
    async run() {
      let trouble = "";
      while (!signal.aborted) {
        try {
          if (!recovered && healthy()) {
            await recover();
            recovered = true;
          }
          trouble = "";
        } catch (error) {
          if (trouble !== String(error)) log.warn({ err: error }, "leftovers of builds are looked for again");
          trouble = String(error);
        }
        if (recovered && target) follow(target);
        await wake.wait(recovered ? 30_000 : 2_000, signal);
      }
      await Promise.allSettled([...running.values()].map(({ done }) => done));
      await saving;
    },
  };
}

const lostToRestart = (): BuildResult => ({
  exitCode: 1,
  reason: "the host's agent was restarted while the build ran; push again",
});

/** Ids become names of containers and directories. */
const isProper = ({ id, jobId }: BuildSpec): boolean => NAME.test(id) && !id.includes("..") && NAME.test(jobId);

// A build as its host is told to run it: pure, from the store's view.

import type { App } from "#api/apps.ts";
import type { Artifact } from "#api/artifacts.ts";
import { type BuildSpec, DEFAULT_BUILD_LIMITS, hasEnded } from "#api/builds.ts";
import type { HostTarget } from "#api/host-agents.ts";
import type { Job } from "#api/jobs.ts";
import type { Stack } from "#api/stack.ts";
import { openEnv } from "../apps/env-at-rest.ts";
import type { Context } from "../context.ts";
import { deploymentsOf, isComing } from "../deploy/record.ts";
import { keys } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import { type BuildPlan, type BuildRecord, buildsOf, repositoryOf } from "./record.ts";

export type Around = Pick<Context, "store" | "registry" | "secrets" | "installers">;

export const imageOf = (registry: string, { repository, digest }: { repository: string; digest: string }): string =>
  `${registry}/${repository}@${digest}`;

export const limitsOf = ({ settings }: BuildPlan): BuildSpec["limits"] => ({
  ...DEFAULT_BUILD_LIMITS,
  ...settings.limits,
});

export function buildSpec(job: Job, { store, registry, secrets, installers }: Around): BuildSpec | undefined {
  const build = buildsOf(store, job.appId).find(({ jobId }) => jobId === job.id);
  const plan = build && store.get<BuildPlan>(keys.buildPlan(job.appId, build.id))?.value;
  if (build === undefined || plan === undefined || build.kind === undefined) return undefined;
  const { settings, buildpacks } = plan;
  return {
    id: build.id,
    jobId: job.id,
    app: job.app,
    appId: job.appId,
    desired: job.desired === "run" && !hasEnded(build) && build.ending === undefined ? "run" : "stop",
    kind: build.kind,
    ...imagesOf(build, plan, { store, registry }),
    ...(build.kind === "dockerfile" ? { pushTo: `${registry}/${repositoryOf(job.appId)}:${build.id}` } : {}),
    source: { sha256: build.source.sha256, sizeBytes: build.source.sizeBytes },
    ...(build.source.commit === undefined ? {} : { commit: build.source.commit }),
    // Docker puts variables into an image's history: its build is given none but the arguments that the settings name.
    env: build.kind === "dockerfile" ? {} : { ...appEnv(store, secrets, job.appId) },
    buildpacks,
    dockerfile: {
      path: settings.dockerfile ?? "Dockerfile",
      ...(settings.target === undefined ? {} : { target: settings.target }),
      args: settings.args ?? {},
    },
    ...(installers === undefined ? {} : { installers }),
    cacheKey: `${job.appId}-${store.get<number>(keys.buildCache(job.appId))?.value ?? 0}`,
    limits: limitsOf(plan),
  };
}

export function stackOf({ store, registry }: Pick<Around, "store" | "registry">): HostTarget["stack"] {
  const stack = store.get<Stack>(keys.stack)?.value;
  return (
    stack && { name: stack.name, builder: imageOf(registry, stack.builder), runner: imageOf(registry, stack.runner) }
  );
}

function imagesOf(
  { kind, appId }: BuildRecord,
  { settings, stack }: BuildPlan,
  { store, registry }: Pick<Around, "store" | "registry">,
): Pick<BuildSpec, "image" | "runImage"> {
  if (kind === "buildpacks" && stack)
    return { image: imageOf(registry, stack.builder), runImage: imageOf(registry, stack.runner) };
  if (kind !== "cnb") return {};
  const uploaded = (id: string | undefined): Artifact | undefined => {
    const artifact = id === undefined ? undefined : store.get<Artifact>(keys.artifact(id))?.value;
    return artifact?.appId === appId ? artifact : undefined;
  };
  const builder = uploaded(settings.builder);
  const base = settings.runImage === undefined ? stack?.runner : uploaded(settings.runImage);
  return {
    ...(builder ? { image: imageOf(registry, builder) } : {}),
    ...(base ? { runImage: imageOf(registry, base) } : {}),
  };
}

/** The variables of the release that the app is headed for, image or not: a change that is being deployed counts. */
export function appEnv(
  store: Context["store"],
  secrets: Context["secrets"],
  appId: string,
): Readonly<Record<string, string>> {
  const coming = deploymentsOf(store, appId).findLast(isComing);
  const releaseId = coming?.toReleaseId ?? store.get<App>(keys.app(appId))?.value.releaseId;
  const release = releaseId === undefined ? undefined : store.get<ReleaseRecord>(keys.release(appId, releaseId))?.value;
  return release === undefined ? {} : openEnv(secrets, release);
}

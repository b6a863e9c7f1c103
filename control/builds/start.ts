// A build's beginning: what the source says is read, the way to build it is chosen and said, and its job is made.
import type { Artifact } from "#api/artifacts.ts";
import type { BuildSettings } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import { parseProcfile } from "#api/procfile.ts";
import { parseProjectToml } from "#api/project-toml.ts";
import type { Stack } from "#api/stack.ts";
import { type AppJson, firstEnv, parseAppJson } from "../apps/app-json.ts";
import { nextRelease, releaseEvent } from "../apps/release.ts";
import { eventChanges } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import type { HostRecord } from "../records.ts";
import type { Store } from "../store/store.ts";
import { chooseBuilder } from "./builder.ts";
import type { SourceFacts } from "./facts.ts";
import { chooseKind, chosenBuildpacks } from "./kind.ts";
import type { Look, Turn } from "./look.ts";
import type { BuildPlan } from "./record.ts";
import { appEnv, limitsOf } from "./spec.ts";
import { bang, detail, step } from "./words.ts";

/** Queued -> its job is made. Faults end the build with their words. */
export async function startTurn(look: Look): Promise<Turn> {
  const { context, build, plan, log, files, app } = look;
  const facts = await files.facts(build.appId, build.id);
  if (facts === undefined) throw new Fault("invalid", "its source is gone from control's disk");
  const { commit } = build.source;
  await log.writeOnce(step(`Building ${app.value.name}${commit === undefined ? "" : ` at ${commit.slice(0, 12)}`}`));
  for (const note of facts.notes) await log.writeOnce(detail(note));
  const choice = chooseKind(plan.settings, facts);
  const { appJson, warnings } = readSource(facts);
  for (const warning of warnings) await log.writeOnce(bang(`Warning: ${warning}`));
  await giveFirstEnv(look, appJson);
  const stack = context.store.get<Stack>(keys.stack)?.value;
  if (choice.kind === "buildpacks" && stack === undefined)
    throw new Fault(
      "invalid",
      "this cluster has no stack to build with yet; who runs the appliance makes it there: flynn stack build",
    );
  await log.writeOnce(
    step(choice.kind === "buildpacks" ? `${choice.words} on the stack ${stack!.name}` : choice.words),
  );
  const settings = choice.kind === "cnb" ? await cnbSettings(look, facts, stack !== undefined) : plan.settings;
  const env = appEnv(context.store, context.secrets, build.appId);
  const buildpacks = chosenBuildpacks(plan.settings, { env, appJson: appJson?.buildpacks ?? [], texts: facts.texts });
  const onStack = choice.kind === "buildpacks" || (choice.kind === "cnb" && plan.settings.runImage === undefined);
  const on = onStack && stack ? { stack: { builder: stack.builder, runner: stack.runner } } : {};
  const next: BuildPlan = { ...plan, settings, buildpacks, ...on };
  const turn = jobTurn({ ...look, plan: next });
  return {
    ...turn,
    changed: { ...turn.changed, kind: choice.kind },
    more: [{ key: keys.buildPlan(build.appId, build.id), value: next }, ...(turn.more ?? [])],
  };
}

/** The settings with the builder that is chosen. Fault `invalid` when project.toml or the cluster does not allow for one. */
async function cnbSettings(
  { context: { store }, build, plan: { settings }, log }: Look,
  { texts }: SourceFacts,
  stack: boolean,
): Promise<BuildSettings> {
  const project = texts["project.toml"] === undefined ? undefined : parseProjectToml(texts["project.toml"]);
  const uploaded = store
    .list<Artifact>(PREFIX.artifacts)
    .map(({ value }) => value)
    .filter(({ appId }) => appId === build.appId);
  const { builder, words, warnings } = chooseBuilder({
    settings,
    uploaded,
    ...(project?.builder === undefined ? {} : { named: project.builder }),
  });
  const { runImage } = settings;
  if (runImage !== undefined && !uploaded.some(({ id }) => id === runImage))
    throw new Fault("invalid", `run-image=${runImage} is no artifact of this app: flynn build builder upload`);
  if (runImage === undefined && !stack)
    throw new Fault(
      "invalid",
      "the builder's apps need a run image: give one (flynn build builder upload --run), or make the cluster's stack (flynn stack build)",
    );
  for (const warning of [...(project?.warnings ?? []), ...warnings]) await log.writeOnce(bang(`Warning: ${warning}`));
  await log.writeOnce(detail(words));
  return { ...settings, builder };
}

/** A job of its own for the build, the first or the next. */
export function jobTurn({ context, build, plan, tasks }: Pick<Look, "context" | "build" | "plan" | "tasks">): Turn {
  const limits = limitsOf(plan);
  const { job, changes } = tasks.draft({
    appId: build.appId,
    process: "build",
    task: { kind: "build", attach: false, tty: false, timeoutMs: limits.timeoutMs, createdBy: build.createdBy },
    need: { cpuMillis: limits.cpuMillis, memoryBytes: limits.memoryBytes, diskBytes: limits.diskBytes },
    tags: buildTags(context.store),
  });
  return {
    changed: {
      state: "queued",
      reason: "",
      jobId: job.id,
      hostId: undefined,
      startedAt: undefined,
      product: undefined,
      attempt: build.attempt + 1,
    },
    more: changes,
  };
}

/** Hosts tagged `build` are for builds: with any of them ready, builds go there and nowhere else. */
export function buildTags(store: Store): Record<string, string> {
  const counts = new Map<string, number>();
  for (const { value: host } of store.list<HostRecord>(PREFIX.hosts)) {
    const value = host.state === "ready" && !host.cordoned ? host.tags["build"] : undefined;
    if (value !== undefined) counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  const [most] = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  return most === undefined ? {} : { build: most[0] };
}

export interface Read {
  appJson: AppJson | undefined;
  procfile: Record<string, string> | undefined;
  warnings: string[];
}

/** Procfile and app.json of the source, read. Fault `invalid` in words, with the line. */
export function readSource({ texts }: SourceFacts): Read {
  const procfile = texts["Procfile"] === undefined ? undefined : parseProcfile(texts["Procfile"]);
  const appJson = texts["app.json"] === undefined ? undefined : parseAppJson(texts["app.json"]);
  return {
    appJson,
    procfile: procfile?.types,
    warnings: [...(procfile?.warnings ?? []), ...(appJson?.warnings ?? [])],
  };
}

/** Before an app's first image: the variables that app.json gives it, as a release of their own, so that the build has them too. */
async function giveFirstEnv(
  { context, build, app, log, deployments }: Look,
  appJson: AppJson | undefined,
): Promise<void> {
  const { store, now, secrets } = context;
  const headed = deployments.headed(app.value);
  if (appJson === undefined || headed?.artifactId !== undefined) return;
  const env = firstEnv(appJson, appEnv(store, secrets, build.appId));
  const names = Object.keys(env).sort();
  if (names.length === 0) return;
  const by = build.createdBy;
  const description = `app.json: set ${names.join(", ")}`.slice(0, 200);
  const release = nextRelease(context, app.value, headed, { env, description }, { by, at: now() });
  const { changes, expect, event } = deployments.draft(app, release, { by });
  await log.writeOnce(detail(`app.json sets ${names.join(", ")}`));
  await store.commit({
    actor: by,
    expect,
    mutations: [
      { key: keys.release(build.appId, release.id), value: release },
      ...changes,
      ...eventChanges(store, now(), releaseEvent(app.value, release), event),
    ],
  });
}

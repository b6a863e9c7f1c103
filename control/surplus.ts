// What may be deleted, by rules: old events, ended deployments, releases beyond the last ten, spent grants, apps whose last job ended.

import type { App } from "#api/apps.ts";
import type { Artifact } from "#api/artifacts.ts";
import { hasEnded } from "#api/builds.ts";
import { type Deployment, hasEnded as deploymentHasEnded } from "#api/deployments.ts";
import { isEnded, type Job } from "#api/jobs.ts";
import { liveJobs } from "./apps/find.ts";
import { type BuildPlan, buildsOf } from "./builds/record.ts";
import { deploymentsOf } from "./deploy/record.ts";
import { externalById } from "./external/service.ts";
import { expiredTokens } from "./identity/tokens.ts";
import { expiredMachines } from "./identity/unapproved.ts";
import { buriedImages } from "./image-sweep.ts";
import { keys, PREFIX } from "./keys.ts";
import { ruleEnd } from "./network/rules.ts";
import type { JoinTokenRecord, MachineRecord, NetworkRuleRecord, ReleaseRecord } from "./records.ts";
import type { Entry } from "./store/entry.ts";
import type { Change, Store } from "./store/store.ts";

/** Keys of one commit. */
export const COMMIT_MOST = 5_000;
export const RELEASES_KEPT = 10;
export const DEPLOYMENTS_KEPT = 30;
export const BUILDS_KEPT = 50;
/** So long an expired token is listed, and whoever shows it hears that it has expired. */
export const EXPIRED_TOKEN_KEPT_MS = 30 * 86_400_000;
const UNUSED_ARTIFACT_MS = 86_400_000;

/** A part of what may be deleted that could not be found out. */
export type OnError = (error: unknown, what: string) => void;

/** One part of the look: keys that may be deleted as of when it is asked. */
type Find = [what: string, find: () => readonly string[]];

/**
 * Finds what may be deleted now, part by part: with thousands of apps the parts take longer than one turn of the event loop may. What
 * cannot be judged stays, and harms nothing else: it is given to `onError`.
 */
function* finds(store: Store, nowMs: number): Generator<Find> {
  for (const prefix of [PREFIX.joinTokens, PREFIX.usedGrants])
    yield [
      prefix,
      () =>
        store
          .list<JoinTokenRecord>(prefix)
          .filter(({ value }) => Date.parse(value.expiresAt) < nowMs)
          .map(({ key }) => key),
    ];
  yield [PREFIX.tokens, () => expiredTokens(store, nowMs - EXPIRED_TOKEN_KEPT_MS)];
  // Rules end with their apps and services; one that names no app, after a salvage, opens nothing and goes.
  const isThere = (id: string) =>
    store.get<App>(keys.app(id))?.value.deleting === undefined && store.get(keys.app(id)) !== undefined;
  const isTarget = ({ kind, id }: NetworkRuleRecord["to"]) =>
    kind === "service" ? externalById(store, id) !== undefined : isThere(id);
  for (const { key, value } of store.list<NetworkRuleRecord>(PREFIX.networkRules))
    yield [key, () => (isThere(value.from.id) && isTarget(value.to) ? [] : ruleEnd(value).map((end) => end.key))];
  yield [
    PREFIX.machines,
    () =>
      expiredMachines(store.list<MachineRecord>(PREFIX.machines), nowMs).flatMap(({ key, value }) => [
        ...store.list(keys.timelineOf(value.id)).map((step) => step.key),
        ...(store.get(keys.machineInventory(value.id)) ? [keys.machineInventory(value.id)] : []),
        key,
      ]),
  ];
  // What a one-off job was given is nobody's business once it is over.
  for (const { key } of store.list(PREFIX.taskEnvs))
    yield [
      key,
      () => {
        const job = store.get<Job>(`${PREFIX.jobs}${key.slice(PREFIX.taskEnvs.length)}`)?.value;
        return job === undefined || isEnded(job) ? [key] : [];
      },
    ];
  for (const { key } of store.list<App>(PREFIX.apps))
    yield [
      key,
      () => {
        const app = store.get<App>(key)?.value;
        return app === undefined ? [] : surplusOf(store, key, app);
      },
    ];
  yield [PREFIX.artifacts, () => unusedArtifacts(store, nowMs)];
}

/**
 * What may be deleted, in portions that are each as of the moment they are given: whoever commits one at once deletes nothing that is
 * used meanwhile. A portion ends after `sliceMs` of work.
 */
export function* surplusPortions(
  store: Store,
  nowMs: number,
  onError: OnError = rethrow,
  sliceMs = SLICE_MS,
): Generator<Change[], void> {
  let gone: string[] = [];
  let fromMs = performance.now();
  const portion = (): Change[] => {
    const all = [...new Set(gone)];
    const buried = all
      .filter((key) => key.startsWith(PREFIX.artifacts))
      .flatMap((key) => store.get<Artifact>(key)?.value ?? []);
    // Names of images first: a bounded turn that ends before their artifacts writes them again, none is forgotten.
    return [...buriedImages(buried, new Date()), ...all.map((key) => ({ key, value: null }))];
  };
  for (const [what, find] of finds(store, nowMs)) {
    try {
      gone.push(...find());
    } catch (error) {
      onError(error, what);
    }
    if (performance.now() - fromMs < sliceMs && gone.length < COMMIT_MOST) continue;
    yield portion();
    gone = [];
    fromMs = performance.now();
  }
  yield portion();
}

const SLICE_MS = 8;

const rethrow: OnError = (error) => {
  throw error;
};

function surplusOf(store: Store, key: string, app: App): string[] {
  // The app itself last: what a bounded turn leaves over is found again by it.
  if (app.deleting) return liveJobs(store, app.id).length === 0 ? [...everythingOf(store, app.id), key] : [];
  const all = deploymentsOf(store, app.id);
  const ended = all.filter(deploymentHasEnded);
  const told = wayBack(all, app);
  const old = ended.slice(0, Math.max(0, ended.length - DEPLOYMENTS_KEPT)).filter(({ id }) => id !== told?.id);
  const oldBuilds = buildsOf(store, app.id).filter(hasEnded).slice(0, -BUILDS_KEPT);
  return [
    ...old.map(({ id }) => keys.deployment(app.id, id)),
    ...oldReleases(store, app),
    ...oldBuilds.flatMap(({ id }) => [keys.build(app.id, id), keys.buildPlan(app.id, id)]),
  ];
}

function everythingOf(store: Store, appId: string): string[] {
  const artifacts = store.list<Artifact>(PREFIX.artifacts).filter(({ value }) => value.appId === appId);
  return [
    keys.releasesOf(appId),
    keys.deploymentsOf(appId),
    keys.jobsOf(appId),
    keys.formationsOf(appId),
    keys.buildsOf(appId),
    keys.buildPlansOf(appId),
    keys.buildCache(appId),
  ]
    .flatMap((prefix) => store.list(prefix))
    .concat(artifacts as never)
    .map(({ key }) => key);
}

/** Uploads that no release took up within a day. */
function unusedArtifacts(store: Store, nowMs: number): string[] {
  const old = store
    .list<Artifact>(PREFIX.artifacts)
    .filter(({ value }) => Date.parse(value.createdAt) < nowMs - UNUSED_ARTIFACT_MS);
  if (old.length === 0) return [];
  const used = new Set(store.list<ReleaseRecord>(PREFIX.releases).map(({ value }) => value.artifactId));
  for (const { value } of store.list<App>(PREFIX.apps)) for (const id of buildImages(store, value)) used.add(id);
  return old.filter(({ value }) => !used.has(value.id)).map(({ key }) => key);
}

/** Builder and run image of the settings, and those of the app's newest build: project.toml may have chosen another builder. */
function buildImages(store: Store, { id, build }: App): (string | undefined)[] {
  const plans = buildsOf(store, id)
    .filter((one, at, { length }) => at === length - 1 || !hasEnded(one))
    .map((one) => store.get<BuildPlan>(keys.buildPlan(id, one.id))?.value.settings);
  return [build, ...plans].flatMap((settings) => [settings?.builder, settings?.runImage]);
}

/** The deployment that says what a rollback goes back to: that which made the current release the current one. */
const wayBack = (all: readonly Deployment[], { releaseId }: App): Deployment | undefined =>
  all.findLast(({ state, toReleaseId }) => state === "complete" && toReleaseId === releaseId);

/** Releases beyond the newest ten that nothing runs, deploys or has a formation of. They go at the next turn. */
export function collectableReleases(store: Store, app: App): Entry<ReleaseRecord>[] {
  const releases = store.list<ReleaseRecord>(keys.releasesOf(app.id)).sort((a, b) => a.value.version - b.value.version);
  if (releases.length <= RELEASES_KEPT) return [];
  const wanted = new Set([
    app.releaseId,
    // However many failed after it.
    wayBack(deploymentsOf(store, app.id), app)?.fromReleaseId,
    ...store.list<{ releaseId: string }>(keys.formationsOf(app.id)).map(({ value }) => value.releaseId),
    ...store
      .list<Deployment>(keys.deploymentsOf(app.id))
      .filter(({ value }) => !deploymentHasEnded(value))
      .map(({ value }) => value.toReleaseId),
    ...liveJobs(store, app.id).map(({ releaseId }) => releaseId),
  ]);
  return releases.slice(0, -RELEASES_KEPT).filter(({ value }) => !wanted.has(value.id));
}

/** With the artifacts only they used. */
function oldReleases(store: Store, app: App): string[] {
  const old = collectableReleases(store, app);
  if (old.length === 0) return [];
  const gone = new Set(old.map(({ key }) => key));
  const left = new Set(
    store
      .list<ReleaseRecord>(keys.releasesOf(app.id))
      .filter(({ key }) => !gone.has(key))
      .map(({ value }) => value.artifactId),
  );
  for (const id of buildImages(store, app)) left.add(id);
  const artifacts = new Set(
    old.map(({ value }) => value.artifactId).filter((id): id is string => id !== undefined && !left.has(id)),
  );
  return [...old.map(({ key }) => key), ...[...artifacts].map((id) => keys.artifact(id))];
}

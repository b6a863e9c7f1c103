// Nothing grows for ever: old events, ended deployments, releases beyond the last ten, spent grants, apps whose last job ended.
import type { App } from "#api/apps.ts";
import type { Artifact } from "#api/artifacts.ts";
import type { Deployment } from "#api/deployments.ts";
import type { Job } from "#api/jobs.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { every } from "#lib/time.ts";
import { liveJobs } from "./apps/find.ts";
import { type BuildPlan, buildsOf, hasEnded } from "./builds/record.ts";
import { deploymentsOf } from "./deploy/record.ts";
import { eventsToTrim } from "./events.ts";
import { buriedImages, type ImageSweeper } from "./image-sweep.ts";
import { keys, PREFIX } from "./keys.ts";
import type { JoinTokenRecord, ReleaseRecord } from "./records.ts";
import { isEnded } from "./scheduler/job-rules.ts";
import type { Change, Entry, Store } from "./store/store.ts";

export const RELEASES_KEPT = 10;
export const DEPLOYMENTS_KEPT = 30;
export const BUILDS_KEPT = 50;
const UNUSED_ARTIFACT_MS = 86_400_000;
const ENDED = ["complete", "failed", "cancelled"];

/** What may be deleted now. Pure but for reading the store. */
export function surplus(store: Store, nowMs: number): Change[] {
  const gone: string[] = eventsToTrim(store).map(({ key }) => key);
  for (const prefix of [PREFIX.joinTokens, PREFIX.usedGrants]) {
    for (const { key, value } of store.list<JoinTokenRecord>(prefix))
      if (Date.parse(value.expiresAt) < nowMs) gone.push(key);
  }
  // What a one-off job was given is nobody's business once it is over.
  for (const { key } of store.list(PREFIX.taskEnvs)) {
    const job = store.get<Job>(`${PREFIX.jobs}${key.slice(PREFIX.taskEnvs.length)}`)?.value;
    if (job === undefined || isEnded(job)) gone.push(key);
  }
  for (const { key, value: app } of store.list<App>(PREFIX.apps)) {
    if (app.deleting) {
      // The app itself last: what a bounded turn leaves over is found again by it.
      if (liveJobs(store, app.id).length === 0) gone.push(...everythingOf(store, app.id), key);
      continue;
    }
    const ended = deploymentsOf(store, app.id).filter(({ state }) => ENDED.includes(state));
    const old = ended.slice(0, Math.max(0, ended.length - DEPLOYMENTS_KEPT));
    gone.push(...old.map(({ id }) => keys.deployment(app.id, id)));
    gone.push(...oldReleases(store, app));
    const oldBuilds = buildsOf(store, app.id).filter(hasEnded).slice(0, -BUILDS_KEPT);
    gone.push(...oldBuilds.flatMap(({ id }) => [keys.build(app.id, id), keys.buildPlan(app.id, id)]));
  }
  gone.push(...unusedArtifacts(store, nowMs));
  const artifacts = gone.filter((key) => key.startsWith(PREFIX.artifacts));
  const buried = artifacts.flatMap((key) => store.get<Artifact>(key)?.value ?? []);
  // Names of images first: a bounded turn that ends before their artifacts writes them again, none is forgotten.
  return [...buriedImages(buried, new Date(nowMs)), ...[...new Set(gone)].map((key) => ({ key, value: null }))];
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

/** Releases beyond the newest ten that nothing runs, deploys or has a formation of. They go at the next turn. */
export function collectableReleases(store: Store, app: App): Entry<ReleaseRecord>[] {
  const releases = store.list<ReleaseRecord>(keys.releasesOf(app.id)).sort((a, b) => a.value.version - b.value.version);
  if (releases.length <= RELEASES_KEPT) return [];
  const wanted = new Set([
    app.releaseId,
    ...store.list<{ releaseId: string }>(keys.formationsOf(app.id)).map(({ value }) => value.releaseId),
    ...store
      .list<Deployment>(keys.deploymentsOf(app.id))
      .filter(({ value }) => !ENDED.includes(value.state))
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

export async function retentionLoop(
  store: Store,
  options: { log: Log; signal: AbortSignal; images: ImageSweeper; everyMs?: number },
): Promise<void> {
  for await (const _ of every(options.everyMs ?? 30_000, options.signal)) {
    const mutations = surplus(store, Date.now()).slice(0, 5_000);
    try {
      if (mutations.length > 0) await store.commit({ actor: "retention", mutations });
      await options.images.sweep(options.signal);
    } catch (error) {
      options.log.warn({ causes: causeChain(error) }, "retention failed");
    }
  }
}

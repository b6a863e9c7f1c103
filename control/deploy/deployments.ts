// Deployments as server-side objects: queued per app, driven to their end, resumed after a restart of control. A client that goes
// away changes nothing.
import type { App } from "#api/apps.ts";
import { type Deployment, hasEnded } from "#api/deployments.ts";
import { Fault } from "#api/fault.ts";
import { newId } from "#lib/ids.ts";
import { until } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";
import type { Context } from "../context.ts";
import { eventChanges, type NewEvent } from "../events.ts";
import type { Idempotent } from "../http/idempotency-key.ts";
import { keys, PREFIX } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import { appOfKey } from "../scheduler/cluster-view.ts";
import type { Entry } from "../store/entry.ts";
import type { Change } from "../store/store.ts";
import { pausing, resuming } from "./changes.ts";
import { type DeployParts, driver } from "./drive.ts";
import { type DeploymentRecord, deploymentsOf, isComing, isLive, type Staging } from "./record.ts";
import type { Counts } from "./strategy.ts";

export interface DeployWish extends Staging {
  by: string;
  strategy?: App["strategy"];
  wanted?: Counts;
}

/** A deployment about to be made: to be committed at once, alone or with what it deploys. */
export interface Draft {
  deployment: Deployment;
  changes: Change[];
  expect: { key: string; version: number }[];
  event: NewEvent;
}

export interface Deployments {
  /** Pure but for the id. Faults: `rate-limited` (too many wait), `conflict` (the release has nothing to run). */
  draft(app: Entry<App> | App, release: ReleaseRecord, wish: DeployWish): Draft;
  create(app: App, release: ReleaseRecord, wish: DeployWish & { idempotent?: Idempotent }): Promise<Deployment>;
  cancel(app: App, id: string, by: string): Promise<Deployment>;
  /** Faults: `conflict` when it has ended, goes back, or its release serves alone already. */
  pause(app: App, id: string, by: string): Promise<Deployment>;
  /** Faults: `conflict` when it is not paused. */
  resume(app: App, id: string, wish: { by: string; pauseAfter?: number | undefined }): Promise<Deployment>;
  get(appId: string, id: string): Entry<DeploymentRecord> | undefined;
  /** The deployment of the app that has not ended, if any: the one that runs or is next. */
  running(appId: string): DeploymentRecord | undefined;
  /** Resolves once no deployment of the app is live and yet to end, or after a while: what is live ends soon. */
  settled(appId: string): Promise<void>;
  /** The release the app will have when every deployment asked for so far has ended well. */
  headed(app: App): ReleaseRecord | undefined;
  /** Drives every deployment until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

const TICK_MS = 500;
const SETTLED_MS = 10_000;
const QUEUED_MOST = 20;

export function deployments(context: Context, parts: DeployParts): Deployments {
  const { store, now } = context;
  const { drive, callOff } = driver(context, parts);
  const driven = new Set<string>();
  const woken = createWake();
  store.onDurable(({ mutations }) => {
    if (mutations.some(({ key }) => key.startsWith(PREFIX.deployments))) woken.ring();
  });

  const get = (appId: string, id: string) => store.get<DeploymentRecord>(keys.deployment(appId, id));
  const unended = (appId: string) => deploymentsOf(store, appId).filter((deployment) => !hasEnded(deployment));

  const draft: Deployments["draft"] = (app, release, { by, strategy, wanted = {}, pauseAfter, canaryPercent }) => {
    const entry = "version" in app ? app : store.get<App>(keys.app(app.id));
    if (entry === undefined || entry.value.deleting) throw new Fault("not-found", "the app was deleted");
    const { value, version } = entry;
    if (unended(value.id).length >= QUEUED_MOST)
      throw new Fault("rate-limited", `app ${value.name} has ${QUEUED_MOST} deployments waiting already`);
    // Without an image there is nothing to run: the release becomes the current one, and the first image starts from it.
    const bare = release.artifactId === undefined;
    if (bare && headed(value)?.artifactId !== undefined)
      throw new Fault("conflict", `v${release.version} of ${value.name} has no image to run`);
    const at = now().toISOString();
    const deployment: DeploymentRecord = {
      id: newId("deployment"),
      order: (deploymentsOf(store, value.id).at(-1)?.order ?? 0) + 1,
      appId: value.id,
      toReleaseId: release.id,
      toVersion: release.version,
      strategy: strategy ?? value.strategy,
      state: bare ? "complete" : "pending",
      step: bare ? "no image yet" : "queued",
      reason: "",
      logTail: [],
      before: {},
      processes: Object.fromEntries(
        Object.entries(wanted).map(([name, count]) => [name, { wanted: count, healthy: 0, oldLeft: 0 }]),
      ),
      ...(pauseAfter === undefined || bare ? {} : { pauseAfter }),
      ...(canaryPercent === undefined || bare ? {} : { canaryPercent }),
      createdAt: at,
      ...(bare ? { finishedAt: at } : {}),
    };
    return {
      deployment,
      changes: [
        { key: keys.deployment(value.id, deployment.id), value: deployment },
        ...(bare ? [{ key: keys.app(value.id), value: { ...value, releaseId: release.id } }] : []),
      ],
      expect: bare ? [{ key: keys.app(value.id), version }] : [],
      event: {
        type: "deployment.created",
        subject: deployment.id,
        app: value.name,
        actor: by,
        message: `deploying v${release.version} of ${value.name}`,
      },
    };
  };

  const headed = (app: App): ReleaseRecord | undefined => {
    const releaseId = unended(app.id).findLast(isComing)?.toReleaseId ?? app.releaseId;
    return releaseId === undefined ? undefined : store.get<ReleaseRecord>(keys.release(app.id, releaseId))?.value;
  };

  /** One that has not ended, and does not go back. */
  const underWay = (app: App, id: string): Entry<DeploymentRecord> => {
    const entry = get(app.id, id);
    if (entry === undefined) throw new Fault("not-found", `no deployment ${id} of app ${app.name}`);
    const { state, goingBack, cancel } = entry.value;
    if (hasEnded(entry.value)) throw new Fault("conflict", `deployment ${id} is ${state} already`);
    if (goingBack !== undefined || cancel !== undefined)
      throw new Fault(
        "conflict",
        `deployment ${id} ${goingBack === "failed" ? "has failed" : "is cancelled already"} and goes back to the earlier release; see it with: flynn -a ${app.name} deployment`,
      );
    return entry;
  };

  /** Deployments that wait, of releases made from that of this one with the same image. */
  const queuedOn = ({ appId, toReleaseId }: DeploymentRecord): Entry<DeploymentRecord>[] => {
    const release = (id: string) => store.get<ReleaseRecord>(keys.release(appId, id))?.value;
    const from = new Set([toReleaseId]);
    return unended(appId).flatMap((one) => {
      const made = release(one.toReleaseId);
      if (one.state !== "pending" || made?.madeFromId === undefined || !from.has(made.madeFromId)) return [];
      if (made.artifactId !== release(toReleaseId)?.artifactId) return [];
      from.add(made.id);
      return get(appId, one.id) ?? [];
    });
  };

  return {
    get,
    draft,
    headed,
    running: (appId) => unended(appId)[0],
    async settled(appId) {
      const isSettled = () => (unended(appId).some(isLive) ? undefined : true);
      await until(isSettled, { what: "a deployment to end", timeoutMs: SETTLED_MS, everyMs: 50 }).catch(
        () => undefined,
      );
    },
    async create(app, release, { idempotent = {}, ...wish }) {
      const { deployment, changes, expect, event } = draft(app, release, wish);
      const { result } = await store.commit({
        actor: wish.by,
        ...idempotent,
        expect,
        mutations: [...changes, ...eventChanges(store, now(), event)],
        result: deployment.id,
      });
      return get(app.id, result)?.value ?? deployment;
    },
    async cancel(app, id, by) {
      const entry = underWay(app, id);
      const { key, value, version } = entry;
      // What was only changed about it goes with it; what has an image of its own comes all the same.
      for (const queued of queuedOn(value)) {
        const reason = `v${value.toVersion}, which it was made from, was cancelled by ${by}`;
        await callOff(queued, { state: "cancelled", reason });
      }
      const cancel = `cancelled by ${by}`;
      // One that waits its turn has changed nothing yet, and need not wait to be called off.
      if (value.state === "pending") await callOff(entry, { state: "cancelled", reason: cancel });
      else
        await store.commit({
          actor: by,
          expect: [{ key, version }],
          mutations: [{ key, value: { ...value, cancel } satisfies DeploymentRecord }],
        });
      return get(app.id, id)!.value;
    },
    async pause(app, id, by) {
      const { key, value, version } = underWay(app, id);
      if (value.keeping || value.liveAt !== undefined)
        throw new Fault(
          "conflict",
          `v${value.toVersion} of ${app.name} serves alone already; go back with: flynn -a ${app.name} rollback`,
        );
      if (value.pausedAt === undefined) {
        const turn = pausing(store, value, app, { words: "pauses after this step", at: now(), by });
        await store.commit({
          actor: by,
          expect: [{ key, version }],
          mutations: [{ key, value: { ...value, ...turn.changed } }, ...turn.more],
        });
      }
      return get(app.id, id)!.value;
    },
    async resume(app, id, { by, pauseAfter }) {
      const { key, value, version } = underWay(app, id);
      if (value.pausedAt === undefined)
        throw new Fault(
          "conflict",
          `deployment ${id} is not paused: ${value.step}; see it with: flynn -a ${app.name} deployment`,
        );
      const turn = resuming(store, value, app, { pauseAfter, at: now(), by });
      await store.commit({
        actor: by,
        expect: [{ key, version }],
        mutations: [{ key, value: { ...value, ...turn.changed } }, ...turn.more],
      });
      return get(app.id, id)!.value;
    },
    async run(signal) {
      const tasks = new Set<Promise<void>>();
      let failure: unknown;
      while (!signal.aborted && failure === undefined) {
        const waiting = new Set<string>();
        for (const { key, value } of store.list<DeploymentRecord>(PREFIX.deployments))
          if (!hasEnded(value)) waiting.add(appOfKey(key, PREFIX.deployments));
        for (const appId of waiting) {
          const id = unended(appId)[0]?.id;
          if (driven.has(appId) || id === undefined) continue;
          driven.add(appId);
          const task = drive(appId, id, signal)
            .catch((error: unknown) => {
              failure = error;
            })
            .finally(() => {
              driven.delete(appId);
              tasks.delete(task);
              woken.ring();
            });
          tasks.add(task);
        }
        await woken.wait(TICK_MS, signal);
      }
      await Promise.all(tasks);
      if (failure !== undefined) throw failure;
    },
  };
}

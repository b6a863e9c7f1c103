// Deployments as server-side objects: queued per app, driven by what the store and the routers say, resumed after a restart.
// Failing leaves the old release as it was. A client that goes away changes nothing.

import type { Static } from "typebox";
import type { App, Formation, FormationEntry, Release } from "#api/apps.ts";
import type { Deployment } from "#api/deployments.ts";
import { Fault, isFault } from "#api/fault.ts";
import type { LogLine } from "#api/logs.ts";
import { newId } from "#lib/ids.ts";
import { causeChain } from "#lib/run.ts";
import { formationOf } from "../apps/find.ts";
import type { Context } from "../context.ts";
import { eventChanges, type NewEvent, plainText } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Idempotent } from "../mount.ts";
import { gate } from "../scheduler/gate.ts";
import type { Change, Entry, Store } from "../store/store.ts";
import { type Counts, nextStep, type Progress, type Step } from "./step.ts";

/** As stored: with the formation to put back if it fails. */
export interface DeploymentRecord extends Deployment {
  before: Record<string, Static<typeof FormationEntry>>;
  cancel?: string;
}

export interface DeployWish {
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
  draft(app: Entry<App> | App, release: Release, wish: DeployWish): Draft;
  create(app: App, release: Release, wish: DeployWish & { idempotent?: Idempotent }): Promise<Deployment>;
  cancel(app: App, id: string, by: string): Promise<Deployment>;
  get(appId: string, id: string): Entry<DeploymentRecord> | undefined;
  /** The deployment of the app that has not ended, if any: the one that runs or is next. */
  running(appId: string): DeploymentRecord | undefined;
  /** The release the app will have when every deployment asked for so far has ended well. */
  headed(app: App): Release | undefined;
  /** Drives every deployment until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

export interface DeployParts {
  /** Every live router serves the newest generation. */
  routersAcknowledged: () => boolean;
  onRouterReport: (listener: () => void) => () => void;
  logTail: (app: string, jobIds: readonly string[]) => Promise<LogLine[]>;
}

const ENDED = new Set<Deployment["state"]>(["complete", "failed", "cancelled"]);
const TICK_MS = 500;
const QUEUED_MOST = 20;

export function deployments(context: Context, parts: DeployParts): Deployments {
  const { store, now, log, config } = context;
  const driven = new Set<string>();
  const wakes = new Set<() => void>();
  const wakeAll = () => {
    for (const wake of wakes) wake();
  };

  store.onDurable(({ mutations }) => {
    if (mutations.some(({ key }) => key.startsWith(PREFIX.deployments))) wakeAll();
  });

  const get = (appId: string, id: string) => store.get<DeploymentRecord>(keys.deployment(appId, id));
  const unended = (appId: string) => deploymentsOf(store, appId).filter(({ state }) => !ENDED.has(state));

  const write = async (
    entry: Entry<DeploymentRecord>,
    changed: Partial<DeploymentRecord>,
    more: Change[] = [],
    expect: { key: string; version: number }[] = [],
  ): Promise<void> => {
    await store.commit({
      actor: "deployer",
      expect: [{ key: entry.key, version: entry.version }, ...expect],
      mutations: [{ key: entry.key, value: { ...entry.value, ...changed } }, ...more],
    });
  };

  const begin = async (entry: Entry<DeploymentRecord>, app: Entry<App>): Promise<void> => {
    const { value: deployment } = entry;
    const release = store.get<Release>(keys.release(app.value.id, deployment.toReleaseId))?.value;
    const old = app.value.releaseId === undefined ? undefined : formationOf(store, app.value.id, app.value.releaseId);
    const processes = Object.keys(release?.processes ?? {});
    const same = old !== undefined && app.value.releaseId === deployment.toReleaseId;
    const wanted = Object.fromEntries(
      processes.map((process) => {
        const given = deployment.processes[process]?.wanted;
        return [
          process,
          given !== undefined && given >= 0
            ? given
            : (old?.value.processes[process]?.count ?? (old === undefined && process === "web" ? 1 : 0)),
        ];
      }),
    );
    const formation: Formation = {
      appId: app.value.id,
      releaseId: deployment.toReleaseId,
      processes: Object.fromEntries(
        processes.map((process) => [
          process,
          { count: same ? wanted[process]! : 0, tags: old?.value.processes[process]?.tags ?? {} },
        ]),
      ),
    };
    const started: Partial<DeploymentRecord> = {
      state: "running",
      step: "starting",
      startedAt: now().toISOString(),
      before: old?.value.processes ?? {},
      ...(old && !same ? { fromReleaseId: old.value.releaseId } : {}),
      processes: Object.fromEntries(
        processes.map((process) => [
          process,
          { wanted: wanted[process]!, healthy: 0, oldLeft: old?.value.processes[process]?.count ?? 0 },
        ]),
      ),
    };
    await write(
      entry,
      started,
      [{ key: keys.formation(app.value.id, deployment.toReleaseId), value: formation }],
      [{ key: app.key, version: app.version }],
    );
  };

  const progressOf = (deployment: DeploymentRecord, app: App, sinceProgressMs: number): Progress => {
    const { fromReleaseId, toReleaseId, strategy } = deployment;
    const counts = (releaseId: string | undefined): Counts =>
      Object.fromEntries(
        Object.entries((releaseId && formationOf(store, app.id, releaseId)?.value.processes) || {}).map(
          ([name, { count }]) => [name, count],
        ),
      );
    // The durable index: what counts here has been told to the routers' generation as well.
    const jobs = context.jobs.ofApp(app.id).filter(({ state }) => state !== "down" && state !== "lost");
    return {
      strategy,
      wanted: Object.fromEntries(Object.entries(deployment.processes).map(([name, { wanted }]) => [name, wanted])),
      newCounts: counts(toReleaseId),
      oldCounts: counts(fromReleaseId),
      newJobs: jobs.filter(({ releaseId }) => releaseId === toReleaseId),
      oldJobs: jobs.filter(({ releaseId }) => releaseId !== toReleaseId),
      routersAcknowledged: parts.routersAcknowledged(),
      sinceProgressMs,
      timeoutMs: app.deployTimeoutMs,
      endingTimeoutMs: config.drainTimeoutMs + 40_000,
    };
  };

  const scaled = (appId: string, releaseId: string, counts: Counts): Change[] => {
    const entry = formationOf(store, appId, releaseId);
    if (entry === undefined) return [];
    const processes = Object.fromEntries(
      Object.entries(entry.value.processes).map(([name, value]) => [
        name,
        { ...value, count: counts[name] ?? value.count },
      ]),
    );
    return [{ key: entry.key, value: { ...entry.value, processes } }];
  };

  const act = async (
    entry: Entry<DeploymentRecord>,
    app: Entry<App>,
    step: Step,
    progress: Progress,
  ): Promise<void> => {
    const { value: deployment } = entry;
    const shown = Object.fromEntries(
      Object.entries(deployment.processes).map(([name, { wanted }]) => [
        name,
        {
          wanted,
          healthy: progress.newJobs.filter(
            ({ process, state, desired }) => process === name && state === "up" && desired === "run",
          ).length,
          oldLeft: progress.oldJobs.filter(({ process }) => process === name).length,
        },
      ]),
    );
    if (step.type === "wait") {
      if (step.words !== deployment.step || JSON.stringify(shown) !== JSON.stringify(deployment.processes))
        await write(entry, { step: step.words, processes: shown });
    } else if (step.type === "scale") {
      const old = deployment.fromReleaseId ? scaled(app.value.id, deployment.fromReleaseId, step.oldCounts) : [];
      await write(entry, { step: step.words, processes: shown }, [
        ...scaled(app.value.id, deployment.toReleaseId, step.newCounts),
        ...old,
      ]);
    } else if (step.type === "complete") {
      const old = deployment.fromReleaseId
        ? [{ key: keys.formation(app.value.id, deployment.fromReleaseId), value: null }]
        : [];
      await write(
        entry,
        { state: "complete", step: "done", processes: shown, finishedAt: now().toISOString() },
        [
          { key: app.key, value: { ...app.value, releaseId: deployment.toReleaseId } },
          ...old,
          ...eventChanges(store, now(), {
            type: "deployment.complete",
            subject: deployment.id,
            app: app.value.name,
            actor: "deployer",
            message: `v${deployment.toVersion} of ${app.value.name} is live`,
          }),
        ],
        [{ key: app.key, version: app.version }],
      );
    } else
      await end(entry, app, {
        state: "failed",
        reason: step.reason,
        logTail: await parts.logTail(app.value.name, step.jobIds),
      });
  };

  /** Failed or cancelled: the new jobs go, the old release has again what it had. */
  const end = async (
    entry: Entry<DeploymentRecord>,
    app: Entry<App> | undefined,
    outcome: Pick<Deployment, "state" | "reason"> & { logTail?: LogLine[] },
  ): Promise<void> => {
    const { value: deployment } = entry;
    const { appId, fromReleaseId, toReleaseId, before } = deployment;
    const current = app?.value.releaseId;
    const restored: Change[] =
      app === undefined || app.value.deleting || deployment.state === "pending"
        ? []
        : [
            ...(current === toReleaseId ? [] : [{ key: keys.formation(appId, toReleaseId), value: null }]),
            ...(fromReleaseId
              ? [
                  {
                    key: keys.formation(appId, fromReleaseId),
                    value: { appId, releaseId: fromReleaseId, processes: before } satisfies Formation,
                  },
                ]
              : []),
          ];
    await write(
      store.get<DeploymentRecord>(entry.key) ?? entry,
      {
        ...outcome,
        step: fromReleaseId ? "the earlier release goes on serving" : "",
        reason: plainText(outcome.reason, 1_000),
        logTail: fittingTail(outcome.logTail ?? []),
        finishedAt: now().toISOString(),
      },
      [
        ...restored,
        ...eventChanges(store, now(), {
          type: `deployment.${outcome.state}`,
          subject: deployment.id,
          app: app?.value.name,
          actor: "deployer",
          message: `v${deployment.toVersion}${app ? ` of ${app.value.name}` : ""} ${outcome.state}: ${outcome.reason}`,
        }),
      ],
    );
  };

  const drive = async (appId: string, id: string, signal: AbortSignal): Promise<void> => {
    let progressedMs = performance.now();
    let mark = "";
    let mostUp = 0;
    const woken = gate();
    const poke = woken.poke;
    wakes.add(poke);
    const stops = [
      store.onDurable((record) => {
        if (record.mutations.some(({ key }) => key.includes(appId))) poke();
      }),
      parts.onRouterReport(poke),
    ];
    try {
      while (!signal.aborted) {
        const entry = get(appId, id);
        if (entry === undefined || ENDED.has(entry.value.state)) return;
        const app = store.get<App>(keys.app(appId));
        try {
          if (app === undefined || app.value.deleting || entry.value.cancel)
            await end(entry, app, { state: "cancelled", reason: entry.value.cancel ?? "the app was deleted" });
          else if (entry.value.state === "pending") await begin(entry, app);
          else {
            const progress = progressOf(entry.value, app.value, performance.now() - progressedMs);
            // Forward is another formation, or more healthy jobs than this one ever had: a job that comes and goes is neither.
            const next = JSON.stringify([progress.newCounts, progress.oldCounts]);
            const up = progress.newJobs.filter(({ state }) => state === "up").length;
            if (next !== mark || up > mostUp) {
              mark = next;
              mostUp = up;
              progressedMs = performance.now();
              progress.sinceProgressMs = 0;
            }
            const step = nextStep(progress);
            await act(entry, app, step, progress);
            if (step.type !== "wait") continue;
          }
        } catch (error) {
          if (isFault(error, "unavailable")) throw error;
          if (!isFault(error, "precondition") && !isFault(error, "conflict"))
            log.error({ deploymentId: id, causes: causeChain(error) }, "deployment step failed, trying again");
        }
        await woken.wait(TICK_MS, signal);
      }
    } finally {
      wakes.delete(poke);
      for (const stop of stops) stop();
    }
  };

  const draft: Deployments["draft"] = (app, release, { by, strategy, wanted = {} }) => {
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

  const headed = (app: App): Release | undefined => {
    const releaseId = unended(app.id).findLast(({ cancel }) => cancel === undefined)?.toReleaseId ?? app.releaseId;
    return releaseId === undefined ? undefined : store.get<Release>(keys.release(app.id, releaseId))?.value;
  };

  return {
    get,
    draft,
    headed,
    running: (appId) => unended(appId)[0],
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
      const entry = get(app.id, id);
      if (entry === undefined) throw new Fault("not-found", `no deployment ${id} of app ${app.name}`);
      if (ENDED.has(entry.value.state)) throw new Fault("conflict", `deployment ${id} is ${entry.value.state} already`);
      const reason = `cancelled by ${by}`;
      // One that waits its turn has changed nothing yet, and need not wait to be called off.
      if (entry.value.state === "pending")
        await end(entry, store.get<App>(keys.app(app.id)), { state: "cancelled", reason });
      else await write(entry, { cancel: reason });
      return get(app.id, id)!.value;
    },
    async run(signal) {
      const tasks = new Set<Promise<void>>();
      let failure: unknown;
      const woken = gate();
      wakes.add(woken.poke);
      while (!signal.aborted && failure === undefined) {
        const waiting = new Set<string>();
        for (const { value } of store.list<DeploymentRecord>(PREFIX.deployments))
          if (!ENDED.has(value.state)) waiting.add(value.appId);
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
              wakeAll();
            });
          tasks.add(task);
        }
        await woken.wait(TICK_MS, signal);
      }
      wakes.delete(woken.poke);
      await Promise.all(tasks);
      if (failure !== undefined) throw failure;
    },
  };
}

/** In the order they were asked for; ids alone sort no finer than a second. */
export function deploymentsOf(store: Store, appId: string): DeploymentRecord[] {
  return store
    .list<DeploymentRecord>(keys.deploymentsOf(appId))
    .map(({ value }) => value)
    .sort((a, b) => (a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : a.toVersion - b.toVersion));
}

const TAIL_MOST_BYTES = 6 * 1024;

/** The newest lines that fit into a record, whatever bytes they are made of. */
export function fittingTail(lines: readonly LogLine[]): LogLine[] {
  const kept: LogLine[] = [];
  let sizeBytes = 0;
  for (const line of lines.slice(-20).reverse()) {
    const short = { ...line, line: plainText(line.line) };
    sizeBytes += Buffer.byteLength(JSON.stringify(short));
    if (sizeBytes > TAIL_MOST_BYTES) break;
    kept.unshift(short);
  }
  return kept;
}

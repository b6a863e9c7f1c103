// Builds as the rest of control sees them: made, followed, cancelled, and driven to their end by a loop that goes on where a
// restart of control left it.
import { hasEnded } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import { every } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import { type BuildAgents, buildAgents } from "./agent.ts";
import { buildLogs } from "./build-log.ts";
import type { Builds } from "./builds.ts";
import { buildMaker } from "./create.ts";
import { buildDriver } from "./drive.ts";
import { buildFiles } from "./files.ts";
import type { BuildParts } from "./look.ts";
import { type BuildRecord, findBuild, shownBuild, unendedBuilds } from "./record.ts";

export interface RunningBuilds extends Builds {
  agents: BuildAgents;
  clearCache(appId: string, by: string): Promise<void>;
  /** The log so far. */
  text(appId: string, id: string): Promise<string>;
  /** Drives every build until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

const TICK_MS = 1_000;
const SWEEP_MS = 300_000;
const QUIET_MS = 10_000;

export function runningBuilds(
  context: Context,
  parts: Pick<BuildParts, "tasks" | "deployments" | "images" | "appLog">,
): RunningBuilds {
  const { store, now, config, ownLog } = context;
  const files = buildFiles(config.stateDir);
  const appNames = (appId: string) => store.get<{ name: string }>(keys.app(appId))?.value.name;
  const logs = buildLogs(files.directory, (appId, _id, text) => {
    const app = appNames(appId);
    for (const line of app === undefined ? [] : text.split("\n"))
      if (line.trim() !== "") ownLog.write({ app: app!, appId, source: "build", line });
  });
  const admissions = new Map<string, () => Promise<void>>();
  const { drive } = buildDriver(context, { ...parts, logs, files, admissions });
  const isKnown = (appId: string, id: string) => store.get(keys.build(appId, id)) !== undefined;

  const loop = async (signal: AbortSignal): Promise<void> => {
    const driven = new Map<string, Promise<void>>();
    const woken = createWake();
    let failure: unknown;
    const stop = store.onDurable(({ mutations }) => {
      if (mutations.some(({ key }) => key.startsWith(PREFIX.builds))) woken.ring();
    });
    try {
      while (!signal.aborted && failure === undefined) {
        for (const { appId, id } of unendedBuilds(store)) {
          if (driven.has(id)) continue;
          const task = drive(appId, id, signal)
            .catch((error: unknown) => {
              failure = error;
            })
            .finally(() => {
              driven.delete(id);
              admissions.delete(id);
              woken.ring();
            });
          driven.set(id, task);
        }
        await woken.wait(TICK_MS, signal);
      }
    } finally {
      stop();
      await Promise.all(driven.values());
    }
    if (failure !== undefined) throw failure;
  };
  const sweeping = async (signal: AbortSignal): Promise<void> => {
    for await (const turn of every(SWEEP_MS, signal)) if (turn > 0) await files.sweep(isKnown, false);
  };

  return {
    agents: buildAgents(context, { images: parts.images, logs, files }),
    create: buildMaker(context, files, admissions),
    get(appId, id) {
      try {
        return shownBuild(findBuild(store, appId, id).value);
      } catch {
        return undefined;
      }
    },
    async *follow(appId, id, { offset: from = 0, signal }) {
      const log = logs.of(appId, findBuild(store, appId, id).value.id);
      const key = findBuild(store, appId, id).key;
      const woken = createWake();
      const stops = [
        log.onGrowth(woken.ring),
        store.onDurable(({ mutations }) => {
          if (mutations.some((mutation) => mutation.key === key)) woken.ring();
        }),
      ];
      let offset = from;
      try {
        while (!signal.aborted) {
          // Looked at before the text is: the last words are on disk before the record says that it ended.
          const record = store.get<BuildRecord>(key)?.value;
          const chunk = await log.read(offset);
          if (chunk.text !== "") yield { offset, text: chunk.text };
          else if (record === undefined || hasEnded(record)) return;
          else {
            const startedMs = performance.now();
            await woken.wait(QUIET_MS, signal);
            if (performance.now() - startedMs >= QUIET_MS - 50) yield { offset, text: "" };
          }
          offset = chunk.end;
        }
      } finally {
        for (const stop of stops) stop();
      }
    },
    async cancel(appId, id, by) {
      const { key, value, version } = findBuild(store, appId, id);
      if (hasEnded(value))
        throw new Fault("conflict", `build ${value.number} of ${value.app} has ended already: ${value.state}`);
      if (value.state === "deploying")
        throw new Fault(
          "conflict",
          `build ${value.number} of ${value.app} is deploying v${value.version} already; to cancel that: flynn -a ${value.app} deployment cancel ${value.deploymentId}`,
        );
      if (value.cancel === undefined)
        await store.commit({
          actor: by,
          expect: [{ key, version }],
          mutations: [
            { key, value: { ...value, cancel: by, reason: "being cancelled" } satisfies BuildRecord },
            ...eventChanges(store, now(), {
              type: "build.cancel",
              subject: value.id,
              app: value.app,
              actor: by,
              message: `build ${value.number} of ${value.app} is to be cancelled`,
            }),
          ],
        });
      return shownBuild(findBuild(store, appId, value.id).value);
    },
    async clearCache(appId, by) {
      const entry = store.get<number>(keys.buildCache(appId));
      const app = appNames(appId) ?? appId;
      await store.commit({
        actor: by,
        expect: [{ key: keys.buildCache(appId), version: entry?.version ?? 0 }],
        mutations: [
          { key: keys.buildCache(appId), value: (entry?.value ?? 0) + 1 },
          ...eventChanges(store, now(), {
            type: "build.cache-cleared",
            subject: appId,
            app,
            actor: by,
            message: `the build cache of ${app} was cleared`,
          }),
        ],
      });
    },
    async text(appId, id) {
      const log = logs.of(appId, findBuild(store, appId, id).value.id);
      return (await log.read(0, await log.sizeBytes())).text;
    },
    async run(signal) {
      await files.sweep(isKnown, true);
      await Promise.all([loop(signal), sweeping(signal)]);
    },
  };
}

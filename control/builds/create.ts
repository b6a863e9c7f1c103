// Making a build: the source is taken in and checked, what is found in it is kept beside it, and the build is queued.
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Build } from "#api/builds.ts";
import { syncDirectory, writeFileAtomic } from "#lib/files.ts";
import { newId } from "#lib/ids.ts";
import { findApp } from "../apps/find.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import { keys } from "../keys.ts";
import type { BuildRequest } from "./builds.ts";
import { sourceFacts } from "./facts.ts";
import { type BuildFiles, FACTS_FILE, SOURCE_FILE } from "./files.ts";
import { SOURCE_PACE } from "./pace.ts";
import { intakePlaces } from "./places.ts";
import { type BuildPlan, type BuildRecord, buildsOf, findBuild, shownBuild } from "./record.ts";
import { SOURCE_LIMITS, takeSource } from "./source.ts";
import { checkSources } from "./source-quota.ts";
import { readSource } from "./start.ts";

export function buildMaker(
  { store, now, room, config }: Pick<Context, "store" | "now" | "room" | "config">,
  files: BuildFiles,
  admissions: Map<string, () => Promise<void>>,
) {
  const places = intakePlaces();

  const checkRoom = (appId: string, needBytes?: number): void => {
    const { value: app } = findApp(store, appId);
    checkSources(app.name, buildsOf(store, app.id), { mostBytes: config.appSourceBytes, needBytes });
  };

  const take = async (requested: BuildRequest): Promise<Build> => {
    const { type, commit, ref, by, packedBytes, signal } = requested;
    const { value: app } = findApp(store, requested.appId);
    const id = newId("build");
    const incoming = files.incoming(id);
    const directory = files.directory(app.id, id);
    const release = files.takingIn(id);
    try {
      await mkdir(incoming, { recursive: true, mode: 0o700 });
      const file = join(incoming, SOURCE_FILE);
      const limits = { ...SOURCE_LIMITS, treeBytes: config.appSourceBytes };
      const from = type === "archive" ? { unwrap: true, pace: SOURCE_PACE } : {}; // git's is our own to send
      const taken = await takeSource(requested.source, { file, signal, packedBytes, limits, ...from });
      const settings = app.build ?? {};
      const facts = sourceFacts(taken, settings);
      readSource(facts); // refused before anything is queued
      await writeFileAtomic(join(incoming, FACTS_FILE), JSON.stringify(facts), { mode: 0o600 });
      await mkdir(dirname(directory), { recursive: true, mode: 0o700 });
      await rename(incoming, directory);
      await syncDirectory(dirname(directory));

      // From here to the commit nothing waits: the number is the next one.
      checkRoom(app.id, taken.sizeBytes);
      const at = now();
      const record: BuildRecord = {
        id,
        appId: app.id,
        app: app.name,
        number: (buildsOf(store, app.id).at(-1)?.number ?? 0) + 1,
        state: "queued",
        reason: "",
        source: {
          type,
          ...(commit === undefined ? {} : { commit }),
          ...(ref === undefined ? {} : { ref: ref.slice(0, 255) }),
          sha256: taken.sha256,
          sizeBytes: taken.sizeBytes,
        },
        createdBy: by,
        createdAt: at.toISOString(),
        attempt: 0,
      };
      if (requested.admit !== undefined) admissions.set(id, requested.admit);
      const plan: BuildPlan = {
        settings,
        buildpacks: [],
        ...(requested.staging === undefined ? {} : { staging: requested.staging }),
      };
      const { result, replayed } = await store.commit({
        actor: by,
        ...requested.idempotent?.(taken.sha256),
        mutations: [
          { key: keys.build(app.id, id), value: record },
          { key: keys.buildPlan(app.id, id), value: plan },
          ...eventChanges(store, at, {
            type: "build.created",
            subject: id,
            app: app.name,
            actor: by,
            message: `build ${record.number} of ${app.name} is queued`,
          }),
        ],
        result: id,
      });
      if (!replayed) return shownBuild(record);
      admissions.delete(id);
      await rm(directory, { recursive: true, force: true });
      return shownBuild(findBuild(store, app.id, result).value);
    } catch (error) {
      admissions.delete(id);
      await rm(incoming, { recursive: true, force: true });
      await rm(directory, { recursive: true, force: true });
      throw error;
    } finally {
      release();
    }
  };

  return async (requested: BuildRequest): Promise<Build> => {
    checkRoom(requested.appId);
    const leave = places.take(requested);
    try {
      return await room.filling(requested.signal, (signal) => take({ ...requested, signal }));
    } finally {
      leave();
    }
  };
}

// A build as it is stored, its plan, and reading those of an app.
import { type Build, type BuildResult, type BuildSettings, hasEnded } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import type { Stack } from "#api/stack.ts";
import type { Staging } from "../deploy/record.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Entry } from "../store/entry.ts";
import type { Store } from "../store/store.ts";

/** What the job's host sent, taken in and checked; the image is in the registry, a slug waits on control's disk. */
export type Product =
  | { type: "slug"; digest: string; diffId: string; sizeBytes: number }
  | { type: "image"; digest: string; sizeBytes: number; architecture: string };

export interface BuildRecord extends Build {
  /** Jobs made for it so far: one, and one more when the first one's host was lost. */
  attempt: number;
  /** Bytes of its log before its current job's output; control is silent while it is there. */
  product?: Product;
  /** How its job ended, as its host said; its process types lie beside the source. */
  result?: Pick<BuildResult, "exitCode" | "reason">;
  /** Told to end: who cancelled it. */
  cancel?: string;
  /** It is to end so; the last words are being written. */
  ending?: { state: "failed" | "cancelled"; reason: string };
}

/** Settings as they were when the build was asked for: a change meanwhile is for the next. */
export interface BuildPlan {
  settings: BuildSettings;
  buildpacks: string[];
  /** Of the deployment of what is built. */
  staging?: Staging;
  /** The stack it is built on, from its beginning on: builder and runner belong together. */
  stack?: Pick<Stack, "builder" | "runner">;
}

/** In the order they were asked for. */
export function buildsOf(store: Store, appId: string): BuildRecord[] {
  return store
    .list<BuildRecord>(keys.buildsOf(appId))
    .map(({ value }) => value)
    .sort((a, b) => a.number - b.number);
}

export function unendedBuilds(store: Store): BuildRecord[] {
  return store
    .list<BuildRecord>(PREFIX.builds)
    .map(({ value }) => value)
    .filter((build) => !hasEnded(build));
}

/** By id or number. Fault `not-found`. */
export function findBuild(store: Store, appId: string, idOrNumber: string): Entry<BuildRecord> {
  const id = /^\d{1,9}$/.test(idOrNumber)
    ? buildsOf(store, appId).find(({ number }) => String(number) === idOrNumber)?.id
    : idOrNumber;
  const entry = id === undefined ? undefined : store.get<BuildRecord>(keys.build(appId, id));
  if (entry === undefined) throw new Fault("not-found", `no build ${idOrNumber}`);
  return entry;
}

export function shownBuild(record: BuildRecord): Build {
  const { attempt: _, product: __, result: ___, cancel: ____, ending: _____, ...build } = record;
  return build;
}

/** Where an app's images are in the registry. */
export const repositoryOf = (appId: string): string => `apps/${appId}`;

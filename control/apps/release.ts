// Making releases: immutable, numbered, everything left out taken from the one before. Pure but for the id.
import type { App, ProcessChanges, ProcessType, Release, ReleaseSummary } from "#api/apps.ts";
import { Fault } from "#api/fault.ts";
import { newId } from "#lib/ids.ts";
import type { Context } from "../context.ts";
import type { NewEvent } from "../events.ts";
import type { ReleaseRecord } from "../records.ts";
import { openRelease, sealRelease } from "./env-at-rest.ts";
import { releasesOf } from "./find.ts";

export const ENV_MOST_BYTES = 12 * 1024;

export interface ReleaseWish {
  artifactId?: string;
  processes?: Record<string, ProcessType>;
  /** Fields of single processes, on top of `processes` or of the ones before; null removes a field. */
  processChanges?: Record<string, ProcessChanges>;
  /** Changes; null removes. */
  env?: Record<string, string | null>;
  description?: string;
}

export interface ReleaseFrame {
  appId: string;
  version: number;
  by: string;
  at: string;
}

export const DEFAULT_PROCESSES: Record<string, ProcessType> = { web: { port: 8080 } };

/** Names that the platform sets for every job; an app that set them would be lied to. */
export const RESERVED_ENV = new Set(["PORT", "HOST_ID", "FLYNN_APP", "FLYNN_RELEASE", "FLYNN_JOB", "FLYNN_PROCESS"]);

export function makeRelease(before: Release | undefined, requested: ReleaseWish, frame: ReleaseFrame): Release {
  const artifactId = requested.artifactId ?? before?.artifactId;
  const env = Object.fromEntries(
    Object.entries({ ...before?.env, ...requested.env }).filter((pair): pair is [string, string] => pair[1] !== null),
  );
  const reserved = Object.keys(requested.env ?? {}).find((name) => RESERVED_ENV.has(name));
  if (reserved !== undefined)
    throw new Fault("invalid", `${reserved} is set by the platform for every job and cannot be changed`, {
      details: { field: reserved },
    });
  if (Buffer.byteLength(JSON.stringify(env)) > ENV_MOST_BYTES)
    throw new Fault("too-large", "the environment of a release is at most 12 KiB");
  return {
    id: newId("release"),
    appId: frame.appId,
    version: frame.version,
    ...(artifactId === undefined ? {} : { artifactId }),
    processes: changedProcesses(
      requested.processes ?? before?.processes ?? DEFAULT_PROCESSES,
      requested.processChanges ?? {},
    ),
    env,
    description: requested.description ?? describe(before, requested),
    createdAt: frame.at,
    createdBy: frame.by,
  };
}

function changedProcesses(
  processes: Record<string, ProcessType>,
  changes: Record<string, ProcessChanges>,
): Record<string, ProcessType> {
  const unknown = Object.keys(changes).find((name) => !Object.hasOwn(processes, name));
  if (unknown !== undefined)
    throw new Fault("invalid", `no process ${unknown}; the app has ${Object.keys(processes).join(", ")}`, {
      details: { field: unknown },
    });
  return Object.fromEntries(
    Object.entries(processes).map(([name, process]) => [name, changedProcess(process, changes[name] ?? {})]),
  );
}

/** `port: null` is a value (it listens on nothing); null of any other field takes it away. */
function changedProcess(process: ProcessType, changes: ProcessChanges): ProcessType {
  const fields = Object.entries({ ...process, ...changes }).filter(
    ([name, value]) => value !== null || name === "port",
  );
  return Object.fromEntries(fields) as unknown as ProcessType;
}

function describe(before: Release | undefined, requested: ReleaseWish): string {
  const set = Object.entries(requested.env ?? {})
    .filter(([, value]) => value !== null)
    .map(([name]) => name);
  const removed = Object.entries(requested.env ?? {})
    .filter(([, value]) => value === null)
    .map(([name]) => name);
  const parts = [
    requested.artifactId !== undefined && requested.artifactId !== before?.artifactId ? "new image" : "",
    set.length ? `set ${set.join(", ")}` : "",
    removed.length ? `removed ${removed.join(", ")}` : "",
    requested.processes ? "processes changed" : "",
    ...Object.entries(requested.processChanges ?? {}).map(
      ([name, fields]) => `${name}: ${Object.keys(fields).join(", ")}`,
    ),
  ].filter(Boolean);
  return parts.join("; ").slice(0, 200) || "no change";
}

/** The app's next release by number, made from `before`, or from its newest when there is none. */
export function nextRelease(
  { store, secrets }: Pick<Context, "store" | "secrets">,
  app: App,
  before: ReleaseRecord | undefined,
  requested: ReleaseWish,
  { by, at }: { by: string; at: Date },
): ReleaseRecord {
  const newest = releasesOf(store, app.id).at(-1);
  const version = (newest?.version ?? 0) + 1;
  const from = before ?? newest;
  const frame = { appId: app.id, version, by, at: at.toISOString() };
  const made = sealRelease(secrets, makeRelease(from && openRelease(secrets, from), requested, frame));
  return from === undefined ? made : { ...made, madeFromId: from.id };
}

export function releaseEvent(app: App, release: ReleaseRecord): NewEvent {
  return {
    type: "release.created",
    subject: release.id,
    app: app.name,
    actor: release.createdBy,
    message: `release v${release.version} of ${app.name}: ${release.description}`,
  };
}

export function summary(release: ReleaseRecord, currentId: string | undefined): ReleaseSummary {
  const { env, envNames, sealed: _, madeFromId: __, ...rest } = release;
  return { ...rest, envNames: envNames ?? Object.keys(env ?? {}).sort(), current: release.id === currentId };
}

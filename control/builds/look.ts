// What one look at a build has around it, and what it may write.
import type { App } from "#api/apps.ts";
import type { LogLine } from "#api/logs.ts";
import type { Context } from "../context.ts";
import type { Deployments } from "../deploy/deployments.ts";
import type { NewEvent } from "../events.ts";
import type { LogRequest } from "../logs/logs.ts";
import type { Registry } from "../registry.ts";
import type { Entry } from "../store/entry.ts";
import type { Change } from "../store/store.ts";
import type { Tasks } from "../tasks/tasks.ts";
import type { BuildLog, BuildLogs } from "./build-log.ts";
import type { BuildFiles } from "./files.ts";
import type { BuildPlan, BuildRecord } from "./record.ts";

export interface BuildParts {
  tasks: Tasks;
  deployments: Deployments;
  images: Registry;
  logs: BuildLogs;
  files: BuildFiles;
  /** By build: what whoever made it is asked before anything is deployed. */
  admissions: ReadonlyMap<string, () => Promise<void>>;
  /** Newest lines of an app. */
  appLog: (app: App, requested: LogRequest) => Promise<LogLine[]>;
}

/** What one look writes: the record's new fields and what goes into the same commit. */
export interface Turn {
  changed: Partial<BuildRecord>;
  more?: Change[];
  expect?: { key: string; version: number }[];
  events?: NewEvent[];
}

/** One look's surroundings. */
export interface Look extends BuildParts {
  context: Context;
  build: BuildRecord;
  plan: BuildPlan;
  app: Entry<App>;
  log: BuildLog;
  clock: Clock;
  signal: AbortSignal;
}

export interface Clock {
  /** Milliseconds since this was first asked for. */
  since(what: string): number;
  /** True at first, then again each time so long has passed. */
  due(what: string, everyMs: number): boolean;
}

// What a record of the store has to say in an app's log: releases, deployments, builds, scaling, jobs lost with their host. Pure.
// Variables are told by name in a release's description, never by value.
import type { Event } from "#api/status.ts";
import { PREFIX } from "../keys.ts";
import type { LogRecord } from "../store/log.ts";
import type { OwnLine } from "./own-log.ts";

interface Subject {
  id?: string;
  appId?: string;
  version?: number;
  toVersion?: number;
  createdBy?: string;
  description?: string;
  reason?: string;
  process?: string;
}

/** `appIdOf` is asked where the record itself does not say whose the event is. */
export function eventLines(
  record: Pick<LogRecord, "at" | "mutations">,
  appIdOf: (event: Event) => string | undefined,
): OwnLine[] {
  const at = record.at.replace(/\.(\d{3})Z$/, ".$1000Z");
  return record.mutations.flatMap(({ key, value }): OwnLine[] => {
    if (value === null || !key.startsWith(PREFIX.events)) return [];
    const event = value as unknown as Event;
    // What tells of an app's end would make its log anew; what an alert sums up is there already, line by line.
    if (event.app === undefined || event.type === "app.deleted" || event.type.startsWith("alert.")) return [];
    const subject = record.mutations.find(
      ({ key, value }) => !key.startsWith(PREFIX.events) && isOf(value, event.subject),
    );
    const { process, appId = appIdOf(event) } = (subject?.value ?? {}) as Subject;
    if (appId === undefined) return [];
    const job = event.type.startsWith("job.") && process !== undefined ? { process, jobId: event.subject } : {};
    return [
      {
        at,
        app: event.app,
        appId,
        source: sourceOf(event),
        line: words(event, (subject?.value ?? {}) as Subject),
        ...job,
      },
    ];
  });
}

const isOf = (value: unknown, id: string): boolean => (value as Subject | null)?.id === id;

function sourceOf({ type }: Event): OwnLine["source"] {
  if (type.startsWith("build.")) return "build";
  return type.startsWith("job.") ? "system" : "deploy";
}

function words({ type, message, actor }: Event, subject: Subject): string {
  const { version, toVersion, createdBy = actor, description, reason } = subject;
  if (type === "release.created" && version !== undefined)
    return `Release v${version} created by ${createdBy}${description ? `: ${description}` : ""}`;
  if (toVersion !== undefined) {
    if (type === "deployment.created") return `Deployment of v${toVersion} started by ${createdBy}`;
    if (type === "deployment.complete") return `Deployed v${toVersion} by ${createdBy}`;
    const state = type.slice("deployment.".length);
    if (type.startsWith("deployment.")) return `Deployment of v${toVersion} ${state}${reason ? `: ${reason}` : ""}`;
  }
  // A name that comes first (a domain, a path) stays as it was given.
  const begins = /^[a-z]+(?= |$)/.test(message);
  const sentence = begins ? `${message.slice(0, 1).toUpperCase()}${message.slice(1)}` : message;
  return message.includes(actor) || actor === "deployer" ? sentence : `${sentence} by ${actor}`;
}

interface JobValue {
  id: string;
  app: string;
  appId: string;
  process: string;
  state: string;
  reason?: string;
}

/** Lines for jobs that went with their host: nobody there is left to say it. `lost` is kept by the caller between records. */
export function lostLines(record: Pick<LogRecord, "at" | "mutations">, lost: Set<string>): OwnLine[] {
  return record.mutations.flatMap(({ key, value }): OwnLine[] => {
    if (!key.startsWith(PREFIX.jobs)) return [];
    const job = value as unknown as JobValue | null;
    if (job === null || job.state !== "lost") {
      lost.delete(key);
      return [];
    }
    if (lost.has(key)) return [];
    lost.add(key);
    const { id: jobId, app, appId, process, reason } = job;
    return [{ app, appId, source: "system", process, jobId, line: `Lost with its host${reason ? `: ${reason}` : ""}` }];
  });
}

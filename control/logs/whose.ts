// Whose a log line is: by the app's id, since a name may have been another app's a moment ago. Lines of a deleted app are nobody's.
import type { App } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import type { LogLine } from "#api/logs.ts";
import { keys } from "../keys.ts";
import type { Store } from "../store/store.ts";

export type AppRef = Pick<App, "id" | "name">;

/** The app of a line, if it is there. Hosts that do not keep ids yet, and what they kept, are judged by the line's job. */
export function ownerOf(store: Pick<Store, "get">, { app, appId, jobId }: LogLine): string | undefined {
  const id = appId ?? store.get<string>(keys.appName(app))?.value;
  if (id === undefined || (appId === undefined && !isJobOf(store, id, jobId))) return undefined;
  const found = store.get<App>(keys.app(id))?.value;
  return found === undefined || found.deleting ? undefined : id;
}

const isJobOf = (store: Pick<Store, "get">, appId: string, jobId: string | undefined): boolean =>
  jobId !== undefined && store.get<Job>(keys.job(appId, jobId)) !== undefined;

/** Whether a reader of this app, or of all apps, may be told the line. */
export const isTold = (store: Pick<Store, "get">, app: AppRef | undefined, line: LogLine): boolean => {
  const owner = ownerOf(store, line);
  return owner !== undefined && (app === undefined || owner === app.id);
};

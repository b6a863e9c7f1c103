// All apps' logs on this host. Each app has a directory and a size of its own, so one app's flood costs no other a line.
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { LogLine } from "#api/logs.ts";
import { type AppLog, openAppLog } from "./app-log.ts";

export interface LogStoreOptions {
  directory: string;
  /** Per app. */
  maxBytes?: number;
  segmentBytes?: number;
  onError: (error: unknown) => void;
}

export interface LogStore {
  /** The app's log, opened (and its directory made) at first use. */
  open(app: string): Promise<AppLog>;
  /** The app's log if it has one: reading makes none. */
  find(app: string): Promise<AppLog | undefined>;
  /** A line of the platform about a job. */
  say(job: { jobId: string; app: string; process: string }, text: string): Promise<void>;
  /** Removes logs that nothing was written to since `beforeMs` (wall clock), but for `keep`. */
  prune(keep: ReadonlySet<string>, beforeMs: number): Promise<string[]>;
  close(): Promise<void>;
}

/** App names become directories: nothing else may. */
const APP_NAME = /^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$/;

export function logStore({
  directory,
  maxBytes = 16 << 20,
  segmentBytes = 2 << 20,
  onError,
}: LogStoreOptions): LogStore {
  const logs = new Map<string, Promise<AppLog>>();
  const openLog = (app: string): Promise<AppLog> => {
    if (!APP_NAME.test(app)) throw new Error(`app name ${JSON.stringify(app)} is not one`);
    const opened =
      logs.get(app) ??
      openAppLog({ directory: join(directory, app), maxBytes, segmentBytes, onError }).catch((cause: unknown) => {
        logs.delete(app);
        throw new Error(`open the log of ${app}`, { cause });
      });
    logs.set(app, opened);
    return opened;
  };
  const kept = async (): Promise<string[]> =>
    (await readdir(directory).catch(() => [])).filter((n) => APP_NAME.test(n));

  return {
    open: async (app) => openLog(app),
    async find(app) {
      if (!APP_NAME.test(app)) return undefined;
      return logs.has(app) || (await kept()).includes(app) ? openLog(app) : undefined;
    },
    async say({ jobId, app, process }, text) {
      const at = `${new Date().toISOString().slice(0, -1)}000Z`;
      const line: LogLine = { at, app, process, jobId, stream: "stdout", source: "system", line: text };
      (await openLog(app)).append([line]);
    },
    async prune(keep, beforeMs) {
      const removed: string[] = [];
      for (const app of await kept()) {
        if (keep.has(app)) continue;
        const path = join(directory, app);
        const times = await Promise.all(
          (await readdir(path)).map(async (name) => (await stat(join(path, name))).mtimeMs),
        );
        if (Math.max(0, ...times) >= beforeMs) continue;
        const open = logs.get(app);
        logs.delete(app);
        await open?.then((log) => log.close());
        await rm(path, { recursive: true, force: true });
        removed.push(app);
      }
      return removed;
    },
    async close() {
      await Promise.all([...logs.values()].map(async (log) => (await log).close()));
    },
  };
}

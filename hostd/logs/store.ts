// All apps' logs on this host, and the platform's own lines about jobs. How one app's flood costs no other a line: lib/line-store.
import type { LogLine } from "#api/logs.ts";
import type { LineLog } from "#lib/line-log.ts";
import type { Row } from "#lib/line-segment.ts";
import { type LineStore, lineStore } from "#lib/line-store.ts";
import { microsecondsNow } from "#lib/time.ts";

/** A line as kept here; `container` is absent on lines of the platform. */
export type KeptLine = LogLine & Row;
export type AppLog = LineLog<KeptLine>;

export interface LogStoreOptions {
  directory: string;
  /** Per app. */
  maxBytes?: number;
  /** Of all apps. */
  totalBytes?: number;
  segmentBytes?: number;
  onError: (error: unknown) => void;
}

export interface LogStore extends LineStore<KeptLine> {
  /** A line of the platform about a job. */
  say(job: { jobId: string; app: string; appId?: string; process: string }, text: string): Promise<void>;
}

/** Where an app's lines are: under its id, since its name may be another's later; under its name for jobs from before ids were kept. */
export const logName = ({ app, appId }: { app: string; appId?: string | undefined }): string => appId ?? app;

export function logStore(options: LogStoreOptions): LogStore {
  const { directory, maxBytes = 16 << 20, totalBytes = 256 << 20, segmentBytes = 2 << 20, onError } = options;
  const store = lineStore<KeptLine>({ directory, maxBytes, totalBytes, segmentBytes, onError });
  return {
    ...store,
    async say({ jobId, app, appId, process }, line) {
      const at = microsecondsNow();
      const about = { app, ...(appId === undefined ? {} : { appId }), process, jobId };
      (await store.open(logName(about))).append([{ at, ...about, stream: "stdout", source: "system", line }]);
    },
  };
}

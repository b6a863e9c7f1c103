// HAProxy writes a line per request into a named pipe and drops it when nobody reads: logging never slows a request.
// Here each line gets the job's name for its slot and goes to access.log, which is kept to two files of bounded size, and to the
// app's own log.
import { constants, openSync } from "node:fs";
import { type FileHandle, open, rename } from "node:fs/promises";
import { Socket, type SocketConstructorOpts } from "node:net";
import type { RouterLogLine } from "#api/logs.ts";
import type { Log } from "#lib/log.ts";
import { microsecondsNow, sleep } from "#lib/time.ts";
import { errorCode } from "./error-code.ts";

const KEPT_BYTES = 16 << 20;
/** After a write that failed, before the next. */
const RETRY_MS = 1_000;
const GATHER_MS = 4;
const LINE_BYTES = 64 << 10;
const LINE_MOST = 16 << 10;
/** HAProxy writes them without their unit: each word more costs it time at every request. */
const TIMES = /^connect=(-?\d+) service=(-?\d+)(?= )/;

export interface SlotOwner {
  app: string;
  appId: string;
  process: string;
  /** Absent when the slot is free, or the request was given to no job. */
  jobId?: string;
  /** Jobs of the process. */
  jobs: number;
}
/** `be_0001/s2` -> whose it is now, or undefined. */
export type JobOf = (slot: string) => SlotOwner | undefined;

export interface Access {
  line: string;
  owner: SlotOwner | undefined;
}

/** One line as HAProxy wrote it -> the agreed line; undefined when it is not a request but a notice. No query string is ever in it. */
export function accessLine(raw: string, jobOf: JobOf): Access | undefined {
  const jobAt = raw.indexOf(" job=");
  const afterAt = raw.indexOf(" connect=", jobAt);
  const stateAt = raw.lastIndexOf(" state=");
  if (!raw.startsWith("at=info ") || jobAt < 0 || afterAt < 0 || stateAt < afterAt) return undefined;
  const before = raw.slice("at=info ".length, jobAt);
  const after = raw.slice(afterAt + 1, stateAt).replace(TIMES, "connect=$1ms service=$2ms");
  const state = raw.slice(stateAt + " state=".length);
  const owner = jobOf(raw.slice(jobAt + " job=".length, afterAt));
  const status = / status=(\d{3})/.exec(` ${after}`)?.[1];
  const { jobId, jobs = 0 } = owner ?? {};
  const error = errorCode({ state, status: Number(status) || undefined, hasJob: jobId !== undefined, jobs });
  const at = error === undefined ? "at=info" : `at=error code=${error[0]} desc="${error[1]}"`;
  const job = owner?.jobId === undefined ? "-" : `${owner.process}.${owner.jobId}`;
  return { line: `${at} ${before} job=${job} ${after}`, owner };
}

export interface AccessLogOptions {
  pipe: string;
  file: string;
  jobOf: JobOf;
  /** Told each request of a known app. */
  onLine?: (line: RouterLogLine) => void;
  log: Log;
  signal: AbortSignal;
}

/** Copies the pipe to the file until the signal aborts. */
export async function copyAccessLog({ pipe, file, jobOf, onLine, log, signal }: AccessLogOptions): Promise<void> {
  // A plain descriptor: the socket owns it and closes it. Read and write, so that no HAProxy being there is not an end.
  const fd = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
  const socket = new Socket({ fd, readable: true, writable: false, highWaterMark: 1 } as SocketConstructorOpts);
  const stop = () => socket.destroy();
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  let rest = "";
  const out = accessFile(file, log);
  await out.write(""); // it is there from the beginning
  try {
    for await (const chunk of socket) {
      const lines = (rest + (chunk as Buffer).toString("latin1")).split("\n");
      rest = lines.pop()!.slice(-LINE_BYTES);
      let text = "";
      for (const raw of lines) {
        const access = accessLine(raw, jobOf);
        if (access !== undefined) {
          const { line, owner } = access;
          text += `${owner === undefined ? "app=-" : `app=${owner.app}`} ${line}\n`;
          if (owner !== undefined) onLine?.(routerLine(line, owner));
        } else if (raw !== "") log.info({ notice: raw.slice(0, 500) }, "haproxy notice");
      }
      if (text !== "") await out.write(text);
      await sleep(GATHER_MS, signal); // one wake-up for many lines; the pipe holds them meanwhile
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await out.close();
    signal.removeEventListener("abort", stop);
  }
}

interface AccessFile {
  /** Never throws. */
  write(text: string): Promise<void>;
  close(): Promise<void>;
}

/** Two files of bounded size. A disk that takes nothing costs their lines and no request: it is said once, and tried again. */
function accessFile(file: string, log: Log): AccessFile {
  let out: { handle: FileHandle; sizeBytes: number } | undefined;
  let failed: { atMs: number } | undefined;
  const close = async (): Promise<void> => {
    const { handle } = out ?? {};
    out = undefined;
    await handle?.close();
  };
  const put = async (text: string): Promise<void> => {
    if (out === undefined) {
      const handle = await open(file, "a", 0o640);
      out = { handle, sizeBytes: 0 };
      out.sizeBytes = (await handle.stat()).size;
    }
    await out.handle.writeFile(text);
    out.sizeBytes += text.length;
    if (out.sizeBytes <= KEPT_BYTES) return;
    await close();
    await rename(file, `${file}.1`);
  };
  return {
    async write(text) {
      if (failed !== undefined && performance.now() - failed.atMs < RETRY_MS) return;
      try {
        await put(text);
        if (failed !== undefined) log.info({ file }, "the access log is written again");
        failed = undefined;
      } catch (error) {
        if (failed === undefined) log.error({ err: error, file }, "the access log is not written; requests go on");
        failed = { atMs: performance.now() };
        await close().catch(() => undefined); // said above
      }
    },
    close: () => close().catch(() => undefined), // what it says was said at its last write
  };
}

function routerLine(line: string, { app, appId, process, jobId }: SlotOwner): RouterLogLine {
  return {
    at: microsecondsNow(),
    app,
    appId,
    process,
    line: line.slice(0, LINE_MOST),
    ...(jobId === undefined ? {} : { jobId }),
  };
}

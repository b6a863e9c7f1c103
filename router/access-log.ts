// HAProxy writes a line per request into a named pipe and drops it when nobody reads: logging never slows a request.
// Here each line gets the job's name for its slot and goes to access.log, which is kept to two files of bounded size.
import { constants, openSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { Socket, type SocketConstructorOpts } from "node:net";
import type { Log } from "#lib/log.ts";
import { sleep } from "#lib/time.ts";

const KEPT_BYTES = 16 << 20;
const GATHER_MS = 4;
const LINE_BYTES = 64 << 10;

/** `be_0001/s2` -> the job there now, or undefined. */
export type JobOf = (slot: string) => { jobId: string; app: string } | undefined;

/** One line as HAProxy wrote it -> the agreed line; undefined when it is not a request but a notice. */
export function accessLine(raw: string, jobOf: JobOf): string | undefined {
  const jobAt = raw.indexOf(" job=");
  const afterAt = raw.indexOf(" connect=", jobAt);
  const stateAt = raw.lastIndexOf(" state=");
  if (!raw.startsWith("at=info ") || jobAt < 0 || afterAt < 0 || stateAt < afterAt) return undefined;
  const before = raw.slice("at=info ".length, jobAt);
  const after = raw.slice(afterAt + 1, stateAt);
  const state = raw.slice(stateAt + " state=".length);
  const job = jobOf(raw.slice(jobAt + " job=".length, afterAt));
  // Termination state (HAProxy configuration manual 8.5): a capital first letter other than L (answered here) is a failure.
  const isError = /^[A-KM-Z]/.test(state) || after.includes(" status=5");
  const who = job ? `app=${job.app} job=${job.jobId}` : "job=-";
  return `at=${isError ? "error" : "info"}${isError ? ` code=${state}` : ""} ${before} ${who} ${after}`;
}

export interface AccessLogOptions {
  pipe: string;
  file: string;
  jobOf: JobOf;
  log: Log;
  signal: AbortSignal;
}

/** Copies the pipe to the file until the signal aborts. */
export async function copyAccessLog({ pipe, file, jobOf, log, signal }: AccessLogOptions): Promise<void> {
  // A plain descriptor: the socket owns it and closes it. Read and write, so that no HAProxy being there is not an end.
  const fd = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
  const socket = new Socket({ fd, readable: true, writable: false, highWaterMark: 1 } as SocketConstructorOpts);
  const stop = () => socket.destroy();
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  let rest = "";
  let out = await open(file, "a", 0o640);
  let sizeBytes = (await out.stat()).size;
  try {
    for await (const chunk of socket) {
      const lines = (rest + (chunk as Buffer).toString("latin1")).split("\n");
      rest = lines.pop()!.slice(-LINE_BYTES);
      let text = "";
      for (const raw of lines) {
        const line = accessLine(raw, jobOf);
        if (line !== undefined) text += `${line}\n`;
        else if (raw !== "") log.info({ notice: raw.slice(0, 500) }, "haproxy notice");
      }
      if (text !== "") await out.write(text);
      sizeBytes += text.length;
      if (sizeBytes > KEPT_BYTES) {
        await out.close();
        await rename(file, `${file}.1`);
        out = await open(file, "a", 0o640);
        sizeBytes = 0;
      }
      await sleep(GATHER_MS, signal); // one wake-up for many lines; the pipe holds them meanwhile
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await out.close();
    signal.removeEventListener("abort", stop);
  }
}

// Logs of builds on disk: control's words and its jobs' output in one text. Beside each log lies a list of marks, written before
// what they speak of: how long the log is to be, and how many bytes of which job's output are then in it. After a crash the log is
// cut back to the last mark it reached, so a host that sends again adds nothing twice and leaves nothing out.
import { appendFile, mkdir, open, readFile, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import type { BuildLogChunk } from "#api/builds.ts";
import { shownOutput } from "#lib/output-text.ts";

export interface BuildLog {
  /** Adds control's own words. */
  write(text: string): Promise<void>;
  /** Adds them unless they are there already, from `since` on. */
  writeOnce(text: string, since?: number): Promise<void>;
  /** Adds a job's output from `offset` of it on; returns how much of it is here now. A gap adds nothing. */
  receive(jobId: string, offset: number, text: string): Promise<number>;
  sizeBytes(): Promise<number>;
  /** The text from a byte on, at most `mostBytes`, ending with a whole character. */
  read(offset: number, mostBytes?: number): Promise<BuildLogChunk & { end: number }>;
  /** Told after each addition; returns the way to stop. */
  onGrowth(listener: () => void): () => void;
}

export interface BuildLogs {
  of(appId: string, buildId: string): BuildLog;
  /** Forgets what is kept in memory of it. */
  close(buildId: string): void;
}

export const LOG_MOST_BYTES = 16 * 1024 ** 2;
const READ_BYTES = 64 * 1024;
const CUT = " !     The output is cut off here: a build's log holds 16 MiB\n";

interface Mark {
  sizeBytes: number;
  jobId: string;
  received: number;
}

/** `onText` is told what is added to any of them. */
export function buildLogs(
  directoryOf: (appId: string, buildId: string) => string,
  onText: (appId: string, buildId: string, text: string) => void = () => undefined,
): BuildLogs {
  const known = new Map<string, BuildLog>();
  return {
    of(appId, buildId) {
      const log = known.get(buildId) ?? buildLog(directoryOf(appId, buildId), (text) => onText(appId, buildId, text));
      known.set(buildId, log);
      return log;
    },
    close: (buildId) => void known.delete(buildId),
  };
}

function buildLog(directory: string, onText: (text: string) => void): BuildLog {
  const file = join(directory, "log");
  const marks = join(directory, "log.marks");
  const listeners = new Set<() => void>();
  /** What was found to be there already: a long log is not looked through at every turn. */
  const said = new Set<string>();
  let at: Mark | undefined;
  let last: Promise<unknown> = Promise.resolve();

  /** One at a time, in order: every addition is mark, then text. */
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = last.then(work);
    last = turn.catch(() => undefined);
    return turn;
  };
  const load = async (): Promise<Mark> => {
    at ??= await recover(file, marks);
    return at;
  };
  const add = async (text: string, next: Omit<Mark, "sizeBytes">): Promise<void> => {
    const before = await load();
    const bytes = Buffer.from(text);
    const mark: Mark = { ...next, sizeBytes: before.sizeBytes + bytes.length };
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await appendFile(marks, `${mark.sizeBytes} ${mark.jobId} ${mark.received}\n`, { mode: 0o600 });
    if (bytes.length > 0) await appendFile(file, bytes, { mode: 0o600 });
    at = mark;
    if (text !== "") onText(text);
    for (const listener of listeners) listener();
  };

  return {
    write: (text) => inTurn(async () => add(text, await load())),
    writeOnce: (text, since = 0) =>
      inTurn(async () => {
        const saying = `${since} ${text}`;
        if (said.has(saying)) return;
        const now = await load();
        const there = await readFrom(file, since, now.sizeBytes - since);
        if (!there.includes(Buffer.from(text))) await add(text, now);
        said.add(saying);
      }),
    receive: (jobId, offset, text) =>
      inTurn(async () => {
        const now = await load();
        const received = now.jobId === jobId ? now.received : 0;
        const bytes = Buffer.from(text);
        const end = offset + bytes.length;
        if (offset > received || end <= received) return received;
        const fresh = shownOutput(bytes.subarray(received - offset).toString("utf8"));
        const fits = now.sizeBytes + Buffer.byteLength(fresh) + CUT.length <= LOG_MOST_BYTES;
        const tail = fits ? Buffer.alloc(0) : await readFrom(file, now.sizeBytes - CUT.length, CUT.length);
        await add(fits ? fresh : tail.equals(Buffer.from(CUT)) ? "" : CUT, { jobId, received: end });
        return end;
      }),
    sizeBytes: () => inTurn(async () => (await load()).sizeBytes),
    read: (offset, mostBytes = READ_BYTES) =>
      inTurn(async () => {
        const { sizeBytes } = await load();
        const bytes = await readFrom(file, offset, Math.min(mostBytes, sizeBytes - offset));
        const whole = wholeCharacters(bytes);
        return { offset, text: bytes.subarray(0, whole).toString("utf8"), end: offset + whole };
      }),
    onGrowth(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** The last mark that the log reached; what lies beyond it was half written. */
async function recover(file: string, marks: string): Promise<Mark> {
  const sizeBytes = await stat(file).then(
    ({ size }) => size,
    () => 0,
  );
  const text = await readFile(marks, "utf8").catch(() => "");
  const found = text
    .split("\n")
    .map((line) => /^(\d+) (\S*) (\d+)$/.exec(line))
    .filter((match) => match !== null)
    .map(([, size, jobId, received]) => ({ sizeBytes: Number(size), jobId: jobId!, received: Number(received) }))
    .findLast((mark) => mark.sizeBytes <= sizeBytes) ?? { sizeBytes: 0, jobId: "-", received: 0 };
  if (found.sizeBytes < sizeBytes) await truncate(file, found.sizeBytes);
  return found;
}

async function readFrom(file: string, offset: number, sizeBytes: number): Promise<Buffer> {
  if (sizeBytes <= 0) return Buffer.alloc(0);
  const handle = await open(file, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  try {
    const buffer = Buffer.alloc(sizeBytes);
    const { bytesRead = 0 } = (await handle?.read(buffer, 0, sizeBytes, offset)) ?? {};
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle?.close();
  }
}

/** Length without a character of UTF-8 (RFC 3629) that is cut off at the end. */
function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

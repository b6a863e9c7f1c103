// An append-only file of JSON records that survives kill -9 and a power cut: each line carries its CRC-32, appends are
// grouped under one fdatasync, a torn or damaged line is reported and left out, and the file is rewritten when it is
// mostly history. Leases, boot tokens and unsent events live in one each.
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { readText, writeFileAtomic } from "#lib/files.ts";
import type { Log } from "#lib/log.ts";

export interface Journal<T> {
  /** Resolves when the record is on disk. */
  append(record: T): Promise<void>;
  close(): Promise<void>;
}

/** What the journal is appended to. */
export type JournalFile = Pick<FileHandle, "appendFile" | "datasync" | "close">;

export interface JournalOptions<T> {
  path: string;
  /** Told every record of the file, oldest first, before openJournal resolves. */
  replay: (record: T) => void;
  /** The records that matter now; what the file is rewritten with. */
  live: () => Iterable<T>;
  log: Log;
  /** Lines after which a rewrite is considered. */
  compactAfter?: number;
  /** Opens the file for appending. */
  openFile?: (path: string) => Promise<JournalFile>;
}

interface Waiter {
  resolve: () => void;
  reject: (error: unknown) => void;
}

export async function openJournal<T>({
  path,
  replay,
  live,
  log,
  compactAfter = 4096,
  openFile = (file) => open(file, "a", 0o600),
}: JournalOptions<T>): Promise<Journal<T>> {
  await mkdir(dirname(path), { recursive: true });
  const damaged = replayText((await readText(path)) ?? "", replay);
  if (damaged > 0) log.warn({ path, damaged }, "journal lines were torn or damaged and are left out");
  let { file, lines } = await rewrite(path, live(), openFile);
  let pending: { text: string; lines: number; waiters: Waiter[] } | undefined;
  let flushing: Promise<void> | undefined;
  let closed = false;
  /** An append that failed may have left half a line. */
  let torn = false;
  /** A rewriting failed: whether the path still names the file that is open is not known. */
  let moved = false;

  async function flush(): Promise<void> {
    while (pending) {
      const batch = pending;
      pending = undefined;
      try {
        if (moved) await reopen();
        await file.appendFile(torn ? `\n${batch.text}` : batch.text);
        await file.datasync();
        torn = false;
        lines += batch.lines;
        for (const { resolve } of batch.waiters) resolve();
      } catch (cause) {
        torn = true;
        const error = new Error(`append to ${path}`, { cause });
        for (const { reject } of batch.waiters) reject(error);
      }
      await compact().catch((error) => log.error({ err: error, path }, "journal not rewritten"));
    }
    flushing = undefined;
  }

  async function reopen(): Promise<void> {
    const old = file;
    file = await openFile(path);
    moved = false;
    await old.close();
  }

  async function compact(): Promise<void> {
    if (lines < compactAfter) return;
    const records = [...live()];
    if (lines < records.length * 4) return;
    const old = file;
    moved = true;
    ({ file, lines } = await rewrite(path, records, openFile));
    moved = false;
    torn = false;
    await old.close();
  }

  return {
    append(record) {
      if (closed) return Promise.reject(new Error(`${path} is closed`));
      return new Promise((resolve, reject) => {
        pending ??= { text: "", lines: 0, waiters: [] };
        pending.text += encodeLine(record);
        pending.lines++;
        pending.waiters.push({ resolve, reject });
        flushing ??= Promise.resolve().then(flush);
      });
    },
    async close() {
      closed = true;
      await flushing;
      await file.close();
    },
  };
}

async function rewrite<T>(
  path: string,
  records: Iterable<T>,
  openFile: (path: string) => Promise<JournalFile>,
): Promise<{ file: JournalFile; lines: number }> {
  const all = [...records].map(encodeLine);
  await writeFileAtomic(path, all.join(""), { mode: 0o600 });
  return { file: await openFile(path), lines: all.length };
}

function encodeLine(record: unknown): string {
  const json = JSON.stringify(record);
  return `${crc32(json).toString(16).padStart(8, "0")} ${json}\n`;
}

function replayText<T>(text: string, replay: (record: T) => void): number {
  let damaged = 0;
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const json = line.slice(9);
    if (crc32(json).toString(16).padStart(8, "0") === line.slice(0, 8)) replay(JSON.parse(json));
    else damaged++;
  }
  return damaged;
}

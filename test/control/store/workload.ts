// A workload whose every record follows from its seq, so that a test knows what must be there: run as a program it
// writes to the directory in argv until it is killed, and prints each seq once it is acknowledged.
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { silentLog } from "#lib/log.ts";
import { deadline } from "#lib/time.ts";
import type { LogRecord, Mutation, ViewEntry } from "../../../control/store/log.ts";
import { openLevelLog } from "../../../control/store/log-level.ts";

const KEYS = 150;

export function mutationsOf(seq: number): Mutation[] {
  const pad = String((seq * 2654435761) % 4294967296).repeat(1 + (seq % 30));
  const mutations: Mutation[] = [{ key: `jobs/${seq % KEYS}`, value: { seq, pad } }];
  if (seq % 7 === 0) mutations.push({ key: `jobs/${(seq * 3) % KEYS}`, value: null });
  return mutations;
}

export function workloadRecord(seq: number, term: number): LogRecord {
  return { seq, term, at: "2026-11-22T00:00:00.000Z", actor: "workload", mutations: mutationsOf(seq) };
}

/** The view after record `headSeq`. */
export function workloadView(headSeq: number): Map<string, ViewEntry> {
  const view = new Map<string, ViewEntry>();
  for (let seq = 1; seq <= headSeq; seq++) {
    for (const { key, value } of mutationsOf(seq)) {
      if (value === null) view.delete(key);
      else view.set(key, { key, value, version: seq });
    }
  }
  return view;
}

/** Writes in a child until `records` more are acknowledged, then kills it with SIGKILL. Returns the last acknowledged seq. */
export async function writeAndKill(directory: string, records: number): Promise<number> {
  const child = fork(fileURLToPath(import.meta.url), [directory], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  let first = 0;
  let acknowledged = 0;
  try {
    const enough = new Promise<void>((resolve, reject) => {
      child.on("message", (seq: number) => {
        first ||= seq;
        acknowledged = seq;
        if (seq - first >= records) resolve();
      });
      child.once("exit", (code) => reject(new Error(`the writer exited ${code}`)));
    });
    await deadline(enough, 20_000, "writing");
  } finally {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }
  return acknowledged;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const log = await openLevelLog({
    directory: process.argv[2]!,
    logger: silentLog(),
    retainRecords: 1000,
    snapshotJournalBytes: 200_000,
  });
  let seq = log.headSeq;
  // Several writers, so that groups of many sizes are in flight when the kill comes.
  const writers = Array.from({ length: 8 }, async () => {
    for (;;) {
      const mine = ++seq;
      await log.append([workloadRecord(mine, log.term)]);
      process.send!(mine);
    }
  });
  await Promise.all(writers);
}

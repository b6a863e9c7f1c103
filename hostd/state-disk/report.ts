// The disks of this machine, reported to control once a boot; and on the timeline what the run that reads a disk to its end writes down.
import { existsSync } from "node:fs";
import type { Client } from "#api/client.ts";
import { reportHostDisks } from "#api/disks.ts";
import { isFault } from "#api/fault.ts";
import type { Log } from "#lib/log.ts";
import { retry } from "#lib/retry.ts";
import { every } from "#lib/time.ts";
import type { BootEventLog } from "../boot-events.ts";
import { laterFile, readNotes, readOutcome } from "./outcome.ts";

const NOTES_EVERY_MS = 5_000;

export async function reportDisks(options: {
  client: Pick<Client, "call">;
  hostId: string;
  runDir: string;
  events: Pick<BootEventLog, "add">;
  onNote: () => void;
  log: Log;
  signal: AbortSignal;
}): Promise<void> {
  const { client, hostId, runDir, events, onNote, log, signal } = options;
  const outcome = await readOutcome(runDir);
  if (outcome === undefined) return; // no machine that the boot server started
  const { disks, wipe } = outcome;
  const body = { disks, ...(wipe ? { wipe } : {}) };
  const told = retry(
    () =>
      client.call(reportHostDisks, { params: { id: hostId }, body, signal }).catch((error: unknown) => {
        // An older control does not know of disks.
        if (!isFault(error, "not-found")) throw error;
      }),
    { signal, attempts: Number.POSITIVE_INFINITY, maxMs: 60_000, retryable: (error) => !isFault(error, "invalid") },
  ).catch((error: unknown) => {
    if (!signal.aborted) log.warn({ err: error }, "disks not reported");
  });
  let seen = 0;
  for await (const _ of every(NOTES_EVERY_MS, signal)) {
    const more = existsSync(laterFile(runDir));
    const notes = await readNotes(runDir);
    for (const { key, level, message, at, code } of notes.slice(seen))
      events.add("disk", level, message, { key, at, ...(code === undefined ? {} : { code }) });
    if (notes.length > seen) onNote();
    seen = notes.length;
    if (!more) break;
  }
  await told;
}

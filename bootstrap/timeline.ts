// What machines did, on its way to control: journaled first, sent in order and in batches, kept while control is away. At
// most `maxQueued` wait; then the oldest go, and one event says how many.
import type { BootEvent } from "#api/boot.ts";
import { isFault } from "#api/fault.ts";
import type { Claimed, Observed } from "#api/machine-identity.ts";
import { newId } from "#lib/ids.ts";
import type { Log } from "#lib/log.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";
import { openJournal } from "./journal.ts";

export interface Happening {
  claimed: Claimed;
  /** What we saw ourselves of whoever did it; nothing unless given. */
  observed?: Observed;
  stage: BootEvent["stage"];
  message: string;
  level?: BootEvent["level"];
  bootId?: string;
  imageId?: string;
  detail?: Record<string, string | number>;
}

export interface Timeline {
  record(happening: Happening): void;
  /** Sends what waits until the signal ends; `post` failing means control is away. */
  deliver(post: (events: BootEvent[]) => Promise<void>, signal: AbortSignal): Promise<void>;
  readonly queued: number;
  close(): Promise<void>;
}

export interface TimelineOptions {
  path: string;
  log: Log;
  maxQueued?: number;
  nowMs?: () => number;
}

/** An event, or the ids of those that need not be kept any more. */
type Entry = { event: BootEvent } | { done: string[] };

const BATCH = 500;

export async function openTimeline({
  path,
  log,
  maxQueued = 10_000,
  nowMs = Date.now,
}: TimelineOptions): Promise<Timeline> {
  const queue = new Map<string, BootEvent>();
  let dropped = 0;
  const wake = createWake();
  const journal = await openJournal<Entry>({
    path,
    log,
    replay(entry) {
      if ("event" in entry) queue.set(entry.event.eventId, migrated(entry.event));
      else for (const id of entry.done) queue.delete(id);
    },
    live: () => [...queue.values()].map((event) => ({ event })),
  });

  function save(entry: Entry): void {
    journal.append(entry).catch((error) => log.error({ err: error }, "timeline not journaled"));
  }

  function add(event: BootEvent): void {
    queue.set(event.eventId, event);
    save({ event });
    if (queue.size > maxQueued) {
      const oldest = [...queue.keys()].slice(0, queue.size - maxQueued);
      for (const id of oldest) queue.delete(id);
      dropped += oldest.length;
      save({ done: oldest });
    }
    wake.ring();
  }

  function forget(events: readonly BootEvent[]): void {
    const done = events.map((event) => event.eventId);
    for (const id of done) queue.delete(id);
    save({ done });
  }

  return {
    get queued() {
      return queue.size;
    },
    record({ claimed, observed = {}, stage, message, level = "info", bootId, imageId, detail }) {
      const event: BootEvent = {
        eventId: newId("be", nowMs()),
        at: new Date(nowMs()).toISOString(),
        claimed,
        observed,
        stage,
        level,
        message: message.slice(0, 400),
        ...(bootId === undefined ? {} : { bootId }),
        ...(imageId === undefined ? {} : { imageId }),
        ...(detail === undefined ? {} : { detail: clipped(detail) }),
      };
      log.info(
        { mac: claimed.mac, observed, stage, bootId, detail: event.detail, text: event.message },
        "machine event",
      );
      add(event);
    },
    async deliver(post, signal) {
      let size = BATCH;
      for (let failures = 0; !signal.aborted; ) {
        if (queue.size === 0) await wake.wait(Number.POSITIVE_INFINITY, signal);
        const batch = [...queue.values()].slice(0, size);
        if (batch.length === 0 || signal.aborted) continue;
        try {
          await post(batch);
          forget(batch);
          size = Math.min(BATCH, size * 2);
          if (dropped > 0) log.warn({ dropped }, "timeline events dropped while control was away");
          dropped = 0;
          failures = 0;
        } catch (error) {
          if (isFault(error, "invalid") || isFault(error, "too-large")) {
            // One event that control will never take must not hold up the rest: it is found by halving, and dropped.
            if (batch.length === 1) {
              log.error({ err: error, event: batch[0] }, "control refuses a machine event, it is dropped");
              forget(batch);
            }
            size = Math.max(1, Math.floor(batch.length / 2));
            continue;
          }
          if (failures++ === 0) log.warn({ err: error, queued: queue.size }, "control is away, machine events wait");
          await sleep(backoffMs(failures, 500, 10_000), signal);
        }
      }
    },
    close: () => journal.close(),
  };
}

/** Events that were journaled before claim and observation were told apart: what they say is a claim. */
function migrated(event: BootEvent & { identity?: Claimed }): BootEvent {
  const { identity, ...rest } = event;
  return identity === undefined ? event : { ...rest, claimed: identity, observed: {} };
}

function clipped(detail: Record<string, string | number>): Record<string, string | number> {
  return Object.fromEntries(
    Object.entries(detail).map(([name, value]) => [name, typeof value === "string" ? value.slice(0, 200) : value]),
  );
}

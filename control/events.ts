// What happened, for people: an event is written in the same record as the change it tells of.

import type { Static } from "typebox";
import type { Level, Stage, TimelineEvent } from "#api/machines.ts";
import type { Event } from "#api/status.ts";
import { keys, PREFIX } from "./keys.ts";
import type { Change, Store } from "./store/store.ts";

const EVENTS_KEPT = 10_000;
const TIMELINE_KEPT = 400;
/** Of all machines together: they are in memory, and read at each start. */
const TIMELINES_KEPT = 200_000;
/** A boot has some thirty steps. */
const TIMELINE_LEAST = 40;
/** Numbers that one record has for its events. */
const PER_RECORD = 10_000;
const MESSAGE_MOST = 400;

export interface NewEvent {
  type: string;
  subject: string;
  message: string;
  actor: string;
  app?: string;
}

/**
 * Changes that write events into the very next commit: call it synchronously before `store.commit`, once per commit.
 * The numbers come from the record's seq, so they are unique and resumable.
 */
export function eventChanges(store: Pick<Store, "seq">, at: Date, ...events: NewEvent[]): Change[] {
  const seq = store.seq + 1;
  return events.slice(0, PER_RECORD).map((event, n) => {
    const message = plainText(event.message);
    const value: Event = { ...event, message, seq: seq * PER_RECORD + n, at: at.toISOString() };
    return { key: keys.event(value.seq), value };
  });
}

/** What firmware and agents say, without the bytes that move a terminal's cursor. */
export function plainText(text: string, most = MESSAGE_MOST): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, "?").slice(0, most);
}

/** Oldest events beyond what is kept, to be deleted. */
export function eventsToTrim(store: Store, atMost = 1_000): Change[] {
  const surplus = store.count(PREFIX.events) - EVENTS_KEPT;
  return surplus <= 0
    ? []
    : store
        .list(PREFIX.events)
        .slice(0, Math.min(surplus, atMost))
        .map(({ key }) => ({ key, value: null }));
}

export interface NewTimelineEvent {
  machineId: string;
  stage: Stage;
  message: string;
  level?: Static<typeof Level>;
  at?: string;
  bootId?: string;
  detail?: Record<string, string | number>;
}

/** Events that each of so many machines keeps. */
export const timelineBound = (machines: number): number =>
  Math.max(TIMELINE_LEAST, Math.min(TIMELINE_KEPT, Math.floor(TIMELINES_KEPT / Math.max(1, machines))));

/** Changes that append to one machine's timeline and drop what is beyond its bound. One call per machine and commit. */
export function timelineChanges(
  store: Store,
  now: Date,
  machineId: string,
  events: Omit<NewTimelineEvent, "machineId">[],
): Change[] {
  const kept = store.list<TimelineEvent>(`${PREFIX.timeline}${machineId}/`);
  let seq = kept.at(-1)?.value.seq ?? 0;
  const added = events.map((event) => {
    const message = plainText(event.message);
    const value: TimelineEvent = { level: "info", at: now.toISOString(), ...event, message, machineId, seq: ++seq };
    return { key: keys.timeline(machineId, seq), value };
  });
  const surplus = Math.max(0, kept.length + added.length - timelineBound(store.count(PREFIX.machines)));
  return [...added, ...kept.slice(0, surplus).map(({ key }) => ({ key, value: null }))];
}

// The boot steps that only the agent can see, for the machine's timeline: each is told to control once per boot.

import type { BootCode } from "#api/boot-codes.ts";
import type { BootEvents } from "./report.ts";
import { readOutcome } from "./state-disk/outcome.ts";

type Event = BootEvents[number];

export interface BootEventLog {
  /** A stage is told once, or once for each `key`. */
  add(
    stage: Event["stage"],
    level: Event["level"],
    message: string,
    more?: { key?: string; at?: string; code?: BootCode },
  ): void;
  pending(): BootEvents;
  told(events: BootEvents): void;
  /** Stages and keys. */
  toldStages(): string[];
}

/** Begins with what `hostd disk` did in this boot, if it ran. */
export async function bootEvents(options: { runDir: string; told: readonly string[] }): Promise<BootEventLog> {
  const told = new Set(options.told);
  const keyOf = new WeakMap<Event, string>();
  let pending: BootEvents = [];
  const log: BootEventLog = {
    add(stage, level, message, { key = stage, at = new Date().toISOString(), code } = {}) {
      if (told.has(key) || pending.some((event) => keyOf.get(event) === key)) return;
      const event: Event = {
        at,
        stage,
        level,
        message: message.slice(0, 400),
        ...(code === undefined ? {} : { code }),
      };
      keyOf.set(event, key);
      pending.push(event);
    },
    pending: () => pending,
    told(events) {
      for (const event of events) told.add(keyOf.get(event) ?? event.stage);
      pending = pending.filter((event) => !events.includes(event));
    },
    toldStages: () => [...told],
  };
  const disk = await readOutcome(options.runDir);
  if (disk)
    log.add("disk", disk.warn ? "warning" : "info", disk.reason, disk.code === undefined ? {} : { code: disk.code });
  return log;
}

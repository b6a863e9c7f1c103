// The boot steps that only the agent can see, for the machine's timeline: each is told to control once per boot.
import { join } from "node:path";
import { readJson } from "#lib/files.ts";
import type { DiskOutcome } from "./disk.ts";
import type { BootEvents } from "./report.ts";

type Event = BootEvents[number];

export interface BootEventLog {
  add(stage: Event["stage"], level: Event["level"], message: string): void;
  pending(): BootEvents;
  told(events: BootEvents): void;
  toldStages(): string[];
}

/** Begins with what `hostd disk` did in this boot, if it ran. */
export async function bootEvents(options: { runDir: string; told: readonly string[] }): Promise<BootEventLog> {
  const told = new Set(options.told);
  let pending: BootEvents = [];
  const log: BootEventLog = {
    add(stage, level, message) {
      if (told.has(stage) || pending.some((event) => event.stage === stage)) return;
      pending.push({ at: new Date().toISOString(), stage, level, message: message.slice(0, 400) });
    },
    pending: () => pending,
    told(events) {
      for (const { stage } of events) told.add(stage);
      pending = pending.filter((event) => !events.includes(event));
    },
    toldStages: () => [...told],
  };
  const disk = await readJson<DiskOutcome>(join(options.runDir, "disk.json"));
  if (disk) log.add("disk", disk.failed ? "warning" : "info", disk.reason);
  return log;
}

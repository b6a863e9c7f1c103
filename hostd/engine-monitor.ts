// Whether the container engine works: one probe at a time, unhealthy after two failures in a row, so within 13 s of a hang.
// Jobs keep their last state meanwhile: an engine that does not answer says nothing about what runs under it.
import { isFault } from "#api/fault.ts";
import { causeChain } from "#lib/run.ts";
import { sleep } from "#lib/time.ts";
import type { Engine, EngineFacts } from "./engine/engine.ts";
import { fold, freshStreak, type Streak } from "./health.ts";

export interface EngineMonitor {
  healthy(): boolean;
  report(): { healthy: boolean; version?: string; reason: string };
  run(signal: AbortSignal): Promise<void>;
}

export interface EngineMonitorOptions {
  engine: Pick<Engine, "probe">;
  onChange: (healthy: boolean) => void;
  everyMs?: number;
}

const RULE = { rise: 1, fall: 2 } as const;

export function monitorEngine({ engine, onChange, everyMs = 1_500 }: EngineMonitorOptions): EngineMonitor {
  let streak: Streak = freshStreak();
  let facts: EngineFacts | undefined;

  const look = async (): Promise<void> => {
    const failure = await engine.probe().then(
      (found) => {
        facts = found;
        return undefined;
      },
      (error: unknown) => (isFault(error, "timeout") ? error.message : causeChain(error).join(": ")),
    );
    const before = streak.state;
    streak = fold(streak, failure, RULE);
    if (streak.state !== before) onChange(streak.state === "healthy");
  };

  return {
    healthy: () => streak.state === "healthy",
    report: () => ({
      healthy: streak.state === "healthy",
      version: facts?.version,
      reason: streak.state === "healthy" ? "" : streak.reason || "the engine has not answered yet",
    }),
    async run(signal) {
      while (!signal.aborted) {
        await look();
        await sleep(everyMs, signal);
      }
    },
  };
}

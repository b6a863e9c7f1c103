// Whether the container engine works: one probe at a time, unhealthy after two failures in a row, so within 13 s of a hang.
// Jobs keep their last state meanwhile: an engine that does not answer says nothing about what runs under it.
import { isFault } from "#api/fault.ts";
import { causeChain } from "#lib/run.ts";
import { sleep } from "#lib/time.ts";
import type { Engine, EngineFacts } from "./engine/engine.ts";
import { fold, freshStreak, type Streak } from "./health.ts";

export interface EngineMonitor {
  healthy(): boolean;
  /** It answers for itself, whatever it says of its containers. */
  answers(): boolean;
  report(): { healthy: boolean; version?: string; reason: string };
  /** How a look at the containers went: an engine that answers for itself and not for them does not work. */
  looked(failure: string | undefined): void;
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
  let looks: Streak = freshStreak("healthy");
  let wasHealthy = false;
  const healthy = () => streak.state === "healthy" && looks.state === "healthy";
  const tell = () => {
    if (healthy() === wasHealthy) return;
    wasHealthy = healthy();
    onChange(wasHealthy);
  };

  const look = async (): Promise<void> => {
    const failure = await engine.probe().then(
      (found) => {
        facts = found;
        return undefined;
      },
      (error: unknown) => (isFault(error, "timeout") ? error.message : causeChain(error).join(": ")),
    );
    streak = fold(streak, failure, RULE);
    tell();
  };

  return {
    healthy,
    answers: () => streak.state === "healthy",
    report: () => ({
      healthy: healthy(),
      version: facts?.version,
      reason: healthy()
        ? ""
        : (streak.state === "healthy" ? looks.reason : streak.reason) || "the engine has not answered yet",
    }),
    looked(failure) {
      looks = fold(looks, failure, RULE);
      tell();
    },
    async run(signal) {
      while (!signal.aborted) {
        await look();
        await sleep(everyMs, signal);
      }
    },
  };
}

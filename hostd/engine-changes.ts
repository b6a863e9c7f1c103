// Follows what the engine announces, over every break of its stream: each change, and each break, is a reason to look.
import type { Log } from "#lib/log.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import type { Engine } from "./engine/engine.ts";

export interface FollowOptions {
  engine: Pick<Engine, "changes">;
  onChange: () => void;
  log: Log;
  signal: AbortSignal;
}

export async function followChanges({ engine, onChange, log, signal }: FollowOptions): Promise<void> {
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      for await (const _ of engine.changes(signal)) {
        failures = 0;
        onChange();
      }
    } catch (error) {
      log.debug({ err: error }, "engine events broke");
    }
    onChange();
    await sleep(backoffMs(Math.max(1, failures), 200, 5_000), signal);
  }
}

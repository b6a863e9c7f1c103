// Brings a build's result to control: tried again while control is away, until it has it or wants it no more.
import { type BuildResult, hostBuildResult } from "#api/builds.ts";
import { isFault } from "#api/fault.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import type { BuildParts } from "./run.ts";

export interface SendResult extends Pick<BuildParts, "client" | "hostId" | "log"> {
  buildId: string;
  result: BuildResult;
  /** False once control no longer names the build. */
  isNamed: () => boolean;
  signal: AbortSignal;
}

const RETRY_MS = 1_000;

export async function sendResult(options: SendResult): Promise<void> {
  const { client, hostId, buildId, result, isNamed, log, signal } = options;
  for (let failures = 1; !signal.aborted && isNamed(); failures++) {
    try {
      const params = { id: hostId, build: buildId };
      await client.call(hostBuildResult, { params, body: result, signal, timeoutMs: 15_000 });
      return;
    } catch (error) {
      // Control has forgotten the build, or knows already: the job's end is all that is left to tell.
      if (isFault(error) && !error.retry && !isFault(error, "internal")) return;
      if (failures === 1) log.warn({ err: error, buildId }, "build's result is sent again");
      await sleep(backoffMs(failures, RETRY_MS, 15_000), signal);
    }
  }
}

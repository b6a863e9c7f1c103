// Sends what a build made to control, anew from its beginning for as long as control is away; a refusal ends the build.
import type { Readable } from "node:stream";
import type { hostBuildImage, hostBuildSlug } from "#api/builds.ts";
import type { Client } from "#api/client.ts";
import { isFault } from "#api/fault.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import { BuildFailure } from "./failure.ts";

export interface UploadOptions {
  client: Pick<Client, "call">;
  endpoint: typeof hostBuildSlug | typeof hostBuildImage;
  hostId: string;
  buildId: string;
  /** The content, from its beginning at each call. */
  open: () => Promise<Readable>;
  signal: AbortSignal;
  onRetry: (error: unknown) => void;
  /** How long control may be away. */
  patienceMs?: number;
  retryMs?: number;
}

/** Control takes the content apart and stores it before it answers. */
const ANSWER_MS = 600_000;

export async function upload(options: UploadOptions): Promise<void> {
  const { client, endpoint, hostId, buildId, open, signal, onRetry, patienceMs = 1_800_000, retryMs = 1_000 } = options;
  const params = { id: hostId, build: buildId };
  const startMs = performance.now();
  for (let failures = 1; ; failures++) {
    signal.throwIfAborted();
    const body = await open();
    try {
      await client.call(endpoint, { params, upload: body, signal, timeoutMs: ANSWER_MS });
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (isFault(error) && !error.retry && error.code !== "internal")
        throw new BuildFailure(error.message, { cause: error });
      if (performance.now() - startMs > patienceMs)
        throw new BuildFailure("the result could not be sent to the cluster", { cause: error });
      onRetry(error);
      await sleep(backoffMs(failures, retryMs, 15_000), signal);
    } finally {
      body.destroy();
    }
  }
}

// Brings an image to the cluster's registry by Docker's own push, which sends only layers that are not there; tried again while control
// is away. The name it is pushed under goes again: what runs is pulled by digest, and finds its layers here.
import { isFault } from "#api/fault.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import type { BuildEngine } from "./engine.ts";
import { BuildFailure } from "./failure.ts";

export interface PushImage {
  engine: Pick<BuildEngine, "tagImage" | "pushImage" | "removeImage">;
  /** Its id. */
  image: string;
  /** host:port/repository:tag */
  name: string;
  signal: AbortSignal;
  onRetry: (error: unknown) => void;
  /** How long control may be away. */
  patienceMs?: number;
  retryMs?: number;
}

export async function pushImage(options: PushImage): Promise<void> {
  const { engine, image, name, signal, onRetry, patienceMs = 1_800_000, retryMs = 1_000 } = options;
  const [, repository = "", tag = ""] = /^(.+):([^:/]+)$/.exec(name) ?? [];
  const startMs = performance.now();
  await engine.tagImage(image, repository, tag);
  try {
    for (let failures = 1; ; failures++) {
      try {
        return await engine.pushImage(repository, tag, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (isFault(error, "forbidden")) throw new BuildFailure(error.message, { cause: error });
        if (performance.now() - startMs > patienceMs)
          throw new BuildFailure("the result could not be sent to the cluster", { cause: error });
        onRetry(error);
        await sleep(backoffMs(failures, retryMs, 15_000), signal);
      }
    }
  } finally {
    await engine.removeImage(name, { keepParents: true });
  }
}

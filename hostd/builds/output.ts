// A container's output from its start to its end. A reading that breaks (a restarted dockerd) goes on where it was.
import { isFault } from "#api/fault.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import type { BuildContainerState } from "./engine.ts";
import type { BuildParts } from "./run.ts";

export interface OutputOptions extends Pick<BuildParts, "jobEngine" | "engine"> {
  name: string;
  say: (line: string) => void;
  /** The container is told to end: its output is waited for a few seconds more. */
  signal: AbortSignal;
  lingerMs?: number;
}

const MAX_FAILURES = 60;

export async function followOutput(options: OutputOptions): Promise<BuildContainerState> {
  const { jobEngine, engine, name, say, signal, lingerMs = 5_000 } = options;
  const over = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const linger = () => {
    timer = setTimeout(() => over.abort(), lingerMs);
  };
  if (signal.aborted) linger();
  else signal.addEventListener("abort", linger, { once: true });
  let last = { at: "", count: 0 };
  try {
    for (let failures = 0; ; ) {
      // Asked before the reading: what had ended by then is read to its end.
      const before = await engine.state(name).catch((error: unknown) => {
        if (isFault(error, "not-found")) return undefined;
        if (++failures > MAX_FAILURES) throw error;
        return "unknown" as const;
      });
      if (before === undefined) throw new Error("the build's container is gone");
      let skip = last.count;
      let read = 0;
      try {
        for await (const { at, line } of jobEngine.log(name, { since: last.at || undefined, signal: over.signal })) {
          if (at < last.at || (at === last.at && skip-- > 0)) continue;
          last = at === last.at ? { at, count: last.count + 1 } : { at, count: 1 };
          read++;
          say(line);
        }
        if (before !== "unknown" && !before.running) return before;
        if (over.signal.aborted) signal.throwIfAborted();
      } catch (error) {
        signal.throwIfAborted();
        if (++failures > MAX_FAILURES) throw error;
        await sleep(backoffMs(failures, 200, 5_000), over.signal);
      }
      if (read === 0) await sleep(50, over.signal);
    }
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", linger);
    over.abort();
  }
}

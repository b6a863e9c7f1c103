// Watching what goes on in the cluster to its end. It lives there: a client that goes away changes nothing, and a cluster that goes away
// for a while is waited for.
import { Fault, isFault } from "#api/fault.ts";
import type { StreamEvent } from "#api/stream.ts";
import type { Cli } from "../parse/command.ts";
import { type Progress, progress } from "./progress.ts";

export interface ToEnd<T, R> {
  cli: Cli;
  /** Control may be restarted under it: so long it may be away, in milliseconds. */
  awayMostMs: number;
  /** For whoever goes away meanwhile, such as `the order goes on there: flynn machine orders node-1 mo1`. */
  goesOn: string;
  stream: (how: { signal: AbortSignal; onBreak: (error: unknown) => void }) => AsyncIterable<StreamEvent<T>>;
  /** Shows a state; what it returns ends the watching. */
  each: (item: T, shown: Progress) => R | undefined;
}

export async function followToEnd<T, R>({ cli, awayMostMs, goesOn, stream, each }: ToEnd<T, R>): Promise<R> {
  const shown = progress(cli);
  const stop = new AbortController();
  const signal = AbortSignal.any([cli.signal, stop.signal]);
  let brokeMs: number | undefined;
  const onBreak = (error: unknown) => {
    if (isFault(error) && !error.retry && error.code !== "gone") throw error;
    brokeMs ??= performance.now();
    if (performance.now() - brokeMs > awayMostMs)
      throw new Fault("unavailable", `the cluster went away; ${goesOn}`, { cause: error });
    shown.step("the cluster does not answer; trying again");
  };
  try {
    for await (const { event, data } of stream({ signal, onBreak })) {
      if (event !== "item" || data === undefined) continue;
      brokeMs = undefined;
      const end = each(data, shown);
      if (end !== undefined) return end;
    }
    throw new Fault("unavailable", goesOn);
  } finally {
    shown.end();
    stop.abort();
  }
}

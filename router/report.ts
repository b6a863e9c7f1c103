// Tells control what HAProxy serves: every 2 s, and at once when it changes.
import { networkInterfaces } from "node:os";
import type { Client } from "#api/client.ts";
import { type RouterReport, reportRouter } from "#api/router-agents.ts";
import { machineAddresses } from "#lib/address-ranges.ts";
import type { Log } from "#lib/log.ts";
import { joined, sleep } from "#lib/time.ts";
import type { Converger } from "./converge.ts";

const EVERY_MS = 2_000;

export interface ReportOptions {
  client: Client;
  id: string;
  address?: string;
  /** TCP ports it serves HTTP and HTTPS on. */
  ports: number[];
  converger: Pick<Converger, "state" | "changed">;
  log: Log;
  signal: AbortSignal;
  everyMs?: number;
}

export async function reportLoop({
  client,
  id,
  address,
  ports,
  converger,
  log,
  signal,
  everyMs = EVERY_MS,
}: ReportOptions): Promise<void> {
  let isAway = false;
  // One listener per change, however many reports are sent before it comes.
  let heard: Promise<void> | undefined;
  let hasChanged = false;
  let wait = new AbortController();
  const hear = () => {
    hasChanged = true;
    if (!isAway) wait.abort();
  };
  while (!signal.aborted) {
    const changed = converger.changed();
    if (changed !== heard) void changed.then(hear);
    heard = changed;
    hasChanged = false;
    const body: RouterReport = {
      ...converger.state(),
      ports,
      localAddresses: machineAddresses(networkInterfaces()),
      ...(address === undefined ? {} : { address }),
    };
    try {
      await client.call(reportRouter, { params: { id }, body, signal, timeoutMs: 5_000 });
      isAway = false;
    } catch (error) {
      if (!isAway && !signal.aborted) log.warn({ err: error }, "report failed");
      isAway = true;
    }
    wait = new AbortController();
    const ended = joined(signal, wait.signal);
    if (isAway || !hasChanged) await sleep(everyMs, ended.signal);
    ended.release();
  }
}

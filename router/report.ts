// Tells control what HAProxy serves: every 2 s, and at once when it changes.
import type { Client } from "#api/client.ts";
import { type RouterReport, reportRouter } from "#api/routes.ts";
import type { Log } from "#lib/log.ts";
import { sleep } from "#lib/time.ts";
import type { Converger } from "./converge.ts";

const EVERY_MS = 2_000;

export interface ReportOptions {
  client: Client;
  id: string;
  address?: string;
  converger: Pick<Converger, "state" | "changed">;
  log: Log;
  signal: AbortSignal;
}

export async function reportLoop({ client, id, address, converger, log, signal }: ReportOptions): Promise<void> {
  let isAway = false;
  while (!signal.aborted) {
    const changed = converger.changed();
    const body: RouterReport = { ...converger.state(), ...(address === undefined ? {} : { address }) };
    try {
      await client.call(reportRouter, { params: { id }, body, signal, timeoutMs: 5_000 });
      isAway = false;
    } catch (error) {
      if (!isAway && !signal.aborted) log.warn({ err: error }, "report failed");
      isAway = true;
    }
    const wait = new AbortController();
    const stop = AbortSignal.any([signal, wait.signal]);
    await Promise.race([sleep(EVERY_MS, stop), ...(isAway ? [] : [changed])]);
    wait.abort();
  }
}

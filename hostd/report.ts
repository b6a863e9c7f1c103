// Tells control what is: every 2 s, and at once when something changed. A report that fails is simply followed by the next.
import type { Client } from "#api/client.ts";
import { isFault } from "#api/fault.ts";
import { type HostReport, reportHost } from "#api/hosts.ts";
import type { Log } from "#lib/log.ts";
import type { Wake } from "./wake.ts";

export type BootEvents = NonNullable<HostReport["events"]>;

export interface ReportOptions {
  client: Pick<Client, "call">;
  hostId: string;
  /** The whole report as of now, without events. */
  current: () => HostReport;
  /** Boot steps not yet told; `told` is called when control has them. */
  events: { pending: () => BootEvents; told: (events: BootEvents) => void };
  wake: Wake;
  /** Control does not accept this host's certificate (any more). */
  onRefused?: () => Promise<void>;
  log: Log;
  signal: AbortSignal;
  everyMs?: number;
}

/** Changes that follow one another closely share a report. */
const GATHER_MS = 50;

export async function sendReports(options: ReportOptions): Promise<void> {
  const { client, hostId, current, events, wake, onRefused, log, signal, everyMs = 2_000 } = options;
  let failing = false;
  while (!signal.aborted) {
    const pending = events.pending().slice(0, 50);
    const body = { ...current(), ...(pending.length > 0 ? { events: pending } : {}) };
    try {
      await client.call(reportHost, { params: { id: hostId }, body, timeoutMs: 5_000, signal });
      events.told(pending);
      if (failing) log.info("reports reach control again");
      failing = false;
    } catch (error) {
      if (signal.aborted) return;
      if (isFault(error, "unauthenticated") || isFault(error, "forbidden")) await onRefused?.();
      if (!failing) log.warn({ err: error }, "report did not reach control");
      failing = true;
    }
    await wake.wait(failing ? everyMs / 2 : everyMs, signal);
    await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
  }
}

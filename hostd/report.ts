// Tells control what is: every 2 s, and at once when something changed. A report that fails is simply followed by the next.
import type { Client } from "#api/client.ts";
import { isFault } from "#api/fault.ts";
import { beatHost, type HostReport, reportHost } from "#api/host-agents.ts";
import type { Log } from "#lib/log.ts";
import type { Wake } from "#lib/wake.ts";
import { changedSince, type Rows, reportDigest, rowsOf } from "./report-digest.ts";

export type BootEvents = NonNullable<HostReport["events"]>;

export interface ReportOptions {
  client: Pick<Client, "call" | "peer">;
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
  /** Unless control asks for another pace. */
  everyMs?: number;
  /** What jobs and disks have in use is reported anew after so long, though nothing else has changed. */
  wholeEveryMs?: number;
  /** Changes that follow one another so closely share a report; the first of them waits for nothing. */
  gatherMs?: number;
  nowMs?: () => number;
}

/** However large the cluster, a host is heard this often: it is lost after 10 s of silence. */
const MOST_ASKED_MS = 4_000;

/** What control asks for, never more often than this host would by itself and never so seldom that it is lost meanwhile. Pure. */
export const paceOf = (ownMs: number, askedMs = ownMs): number => Math.min(MOST_ASKED_MS, Math.max(ownMs, askedMs));

export async function sendReports(options: ReportOptions): Promise<void> {
  const { client, hostId, current, events, wake, onRefused, log, signal, everyMs = 2_000 } = options;
  const { wholeEveryMs = 30_000, gatherMs = 50, nowMs = () => performance.now() } = options;
  const call = { params: { id: hostId }, timeoutMs: 5_000, signal };
  let failing = false;
  let askedMs = everyMs;
  const heed = ({ everyMs: asked }: { everyMs?: number }) => {
    askedMs = paceOf(everyMs, asked);
  };
  /** What control has of this host, as far as is known here. */
  let whole: { digest: string; atMs: number; sentMs: number; rows: Rows } | undefined;
  const isFresh = (): boolean => whole !== undefined && nowMs() - whole.atMs < wholeEveryMs;
  const can = (name: string): boolean => client.peer()?.capabilities.includes(name) === true;
  /** True when control still has the report that this one equals. */
  const beat = async (report: HostReport, digest: string): Promise<boolean> => {
    if (whole?.digest !== digest || !isFresh() || !can("beats")) return false;
    const { term, seq, now = new Date().toISOString(), reachVersion } = report;
    const body = { term, seq, now, digest, ...(reachVersion === undefined ? {} : { reachVersion }) };
    const answer = await client.call(beatHost, { ...call, body });
    heed(answer);
    if (!answer.known) whole = undefined;
    return answer.known;
  };
  /** False when it is of changes since a report that control has not got, or when control may have taken them for all there is: an older one. */
  const send = async (body: HostReport): Promise<boolean> => {
    const answer = await client.call(reportHost, { ...call, body });
    heed(answer);
    return answer.known === true;
  };
  /** What is new waits for what was new shortly before, and for no beat: those go with every target. */
  const gathered = async (frameMs: number): Promise<void> => {
    while (!signal.aborted) {
      const isNew = whole !== undefined && whole.digest !== reportDigest(current());
      const leftMs = (isNew ? whole!.sentMs : frameMs) + gatherMs - nowMs();
      if (leftMs <= 0) return;
      await wake.wait(leftMs, signal);
    }
  };
  while (!signal.aborted) {
    const startedMs = nowMs();
    const pending = events.pending().slice(0, 50);
    const report = current();
    const digest = reportDigest(report);
    try {
      if (pending.length > 0 || !(await beat(report, digest))) {
        const body = { ...report, digest, ...(pending.length > 0 ? { events: pending } : {}) };
        const since = isFresh() && can("report-changes") ? whole : undefined;
        whole = undefined; // until it is known to have arrived
        const atMs = since?.atMs ?? nowMs();
        if (since === undefined || !(await send({ ...body, since: since.digest, ...changedSince(since.rows, report) })))
          await send(body);
        whole = { digest, atMs, sentMs: startedMs, rows: rowsOf(report) };
        events.told(pending);
      }
      if (failing) log.info("reports reach control again");
      failing = false;
    } catch (error) {
      if (signal.aborted) return;
      if (isFault(error, "unauthenticated") || isFault(error, "forbidden")) await onRefused?.();
      if (!failing) log.warn({ err: error }, "report did not reach control");
      failing = true;
    }
    await wake.wait(failing ? everyMs / 2 : askedMs, signal);
    await gathered(startedMs);
  }
}

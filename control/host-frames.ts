// The frames of hosts: a report is compared with the state and what differs is written; a beat says that the last one still holds, so it
// is compared again only when the state has changed meanwhile.
import type { HostBeat, HostReport } from "#api/host-agents.ts";
import type { Context } from "./context.ts";
import type { HostChanges } from "./host-changes.ts";
import { wholeReport } from "./report-changes.ts";
import { acceptReport } from "./reports.ts";

export interface HostFrames {
  /** False when it is since a report that is not here: nothing is taken in. */
  report(hostId: string, report: HostReport): Promise<boolean>;
  /** False when there is no such report here. */
  beat(hostId: string, beat: HostBeat): Promise<boolean>;
}

interface Settled {
  /** What was found to change nothing. */
  digest: string | undefined;
  /** At this state of what it is compared with. */
  seq: number;
}

/**
 * How often a host that has nothing new says so, in milliseconds: every 2 s, and with more than 1,000 hosts less often, up to every 3 s.
 * Three of its frames must be missing within the `ttlMs` after which it is lost. Pure.
 */
export const beatEveryMs = (hosts: number, ttlMs: number): number =>
  Math.max(2_000, Math.min(3_000, Math.floor(ttlMs * 0.3), 1_500 + Math.round(hosts / 2)));

export function hostFrames(
  context: Context,
  changes: Pick<HostChanges, "seqOf">,
  accept: typeof acceptReport = acceptReport,
): HostFrames {
  const { presence } = context;
  const settled = new Map<string, Settled>();
  const take = async (hostId: string, report: HostReport): Promise<void> => {
    const seq = changes.seqOf(hostId);
    settled.delete(hostId);
    // What it changes is looked at once more, as it stands then.
    if (!(await accept(context, hostId, report))) settled.set(hostId, { digest: report.digest, seq });
  };
  return {
    async report(hostId, report) {
      const whole = wholeReport(report, presence.hosts.get(hostId)?.report);
      if (whole === undefined) return false;
      presence.hostSeen(hostId, whole);
      await take(hostId, whole);
      return true;
    },
    async beat(hostId, beat) {
      if (!presence.hostBeat(hostId, beat)) return false;
      const known = settled.get(hostId);
      if (known?.digest === beat.digest && known.seq === changes.seqOf(hostId)) return true;
      const { events: _, ...report } = presence.hosts.get(hostId)!.report;
      await take(hostId, report);
      return true;
    },
  };
}

// Asks the LAN again every few minutes while the boot server runs, and at once when a machine names a DHCP server that was not there
// at the start: what is rogue then becomes an alert, and an event of the machine that it answered.
import type { DhcpServer, RogueDhcpServer } from "#api/dhcp-servers.ts";
import type { Log } from "#lib/log.ts";
import { createWake } from "#lib/wake.ts";
import { rogues } from "./heard.ts";

export interface LanWatch {
  /** A machine took the address of this server; what it is when it is rogue, as far as that is known by now. */
  named(address: string): { address: string; card?: string | undefined } | undefined;
  /** Those that are rogue now. */
  rogues(): readonly RogueDhcpServer[];
  /** Asks until the signal ends. */
  run(signal: AbortSignal): Promise<void>;
}

export interface LanWatchOptions {
  ask: (signal: AbortSignal) => Promise<DhcpServer[]>;
  /** Our own address: it is no other server. */
  own: string;
  onChange: (rogue: readonly RogueDhcpServer[]) => void;
  log: Log;
  everyMs?: number;
  /** Between two questions at the least, whoever is named. */
  leastMs?: number;
  nowMs?: () => number;
}

export function watchLan(options: LanWatchOptions): LanWatch {
  const { ask, own, onChange, log, everyMs = 300_000, leastMs = 20_000 } = options;
  const { nowMs = () => performance.now() } = options;
  const wake = createWake();
  let atStart: readonly DhcpServer[] | undefined;
  let rogue: readonly RogueDhcpServer[] = [];
  let askedAtMs = Number.NEGATIVE_INFINITY;

  const askNow = async (signal: AbortSignal) => {
    askedAtMs = nowMs();
    const heard = await ask(signal);
    if (signal.aborted) return;
    atStart ??= heard;
    const found = rogues(atStart, heard);
    if (JSON.stringify(found) !== JSON.stringify(rogue)) {
      log.warn({ rogue: found }, "other DHCP servers that should not be there");
      rogue = found;
      onChange(rogue);
    }
  };

  return {
    named(address) {
      if (address === own || atStart === undefined) return undefined;
      const known = rogue.find((server) => server.address === address);
      if (known !== undefined) return known;
      if (atStart.some((server) => server.address === address)) return undefined;
      wake.ring();
      return { address };
    },
    rogues: () => rogue,
    async run(signal) {
      while (!signal.aborted) {
        await askNow(signal).catch((error) => log.warn({ err: error }, "other DHCP servers could not be asked for"));
        await wake.wait(everyMs, signal);
        const restMs = askedAtMs + leastMs - nowMs();
        if (restMs > 0 && !signal.aborted) await createWake().wait(restMs, signal);
      }
    },
  };
}

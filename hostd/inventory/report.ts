// What the machine under this host is made of, told to control once a boot: the same report that a machine sends before its approval,
// over the host's own certificate.
import type { Client } from "#api/client.ts";
import { isFault } from "#api/fault.ts";
import { reportHostInventory } from "#api/inventory.ts";
import type { Log } from "#lib/log.ts";
import { readStart } from "#lib/read-start.ts";
import { retry } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import { readOutcome } from "../state-disk/outcome.ts";
import { bootCard } from "./agent.ts";
import { collect, readIdentity } from "./collect.ts";

/** After the jobs' start, and after a switch's next LLDP frame. */
const LATER_MS = 45_000;

export async function reportInventory(options: {
  client: Pick<Client, "call">;
  hostId: string;
  runDir: string;
  log: Log;
  signal: AbortSignal;
  laterMs?: number;
}): Promise<void> {
  const { client, hostId, runDir, log, signal, laterMs = LATER_MS } = options;
  if ((await readOutcome(runDir)) === undefined) return; // no machine that the boot server started
  await sleep(laterMs, signal);
  if (signal.aborted) return;
  const cmdline = await readStart("/proc/cmdline", 8192);
  const identity = await readIdentity(bootCard(cmdline));
  if (identity === undefined) return;
  const report = await collect({ identity, signal });
  await retry(
    () =>
      client.call(reportHostInventory, { params: { id: hostId }, body: { report }, signal }).catch((error: unknown) => {
        // An older control does not know of inventories.
        if (!isFault(error, "not-found")) throw error;
      }),
    { signal, attempts: Number.POSITIVE_INFINITY, maxMs: 60_000, retryable: (error) => !isFault(error, "invalid") },
  ).catch((error: unknown) => {
    if (!signal.aborted) log.warn({ err: error }, "inventory not reported");
  });
}

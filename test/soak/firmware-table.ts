// The truth table of offers (offer-rows.ts), each row by a machine with that firmware: what it does must be what is written.
import process from "node:process";
import { fileURLToPath } from "node:url";
import { until } from "#lib/time.ts";
import type { OfferRow } from "../lab/firmware/offers.ts";
import { startDhcp } from "../lab/firmware/office-dhcp.ts";
import { openLan } from "../lab/network.ts";
import { addMachine } from "../lab/qemu.ts";
import { openScope, type Scope } from "../lab/scope.ts";
import { type Outcome, TABLE, type TableRow } from "./offer-rows.ts";
import type { Soak } from "./soaks.ts";

const OFFERS = fileURLToPath(new URL("../lab/firmware/offers.ts", import.meta.url));
const ROW_MS = 150_000;
/** EDK2 asks four times, after 4, 8 and 16 seconds; a third question says that the answers before were none. */
const IGNORED_DISCOVERS = 3;
const HANGING_REQUESTS = 3;
/** What firmware says when it goes on to its next boot option. */
const GAVE_UP = /PXE-E\d\d|failed to load Boot|No more network devices|Nothing to boot|No bootable device/;

export const firmwareTable: Soak = {
  what: `${Object.keys(TABLE).length} answers of a boot server, right and wrong ones, each given to the firmware itself`,
  covers: [
    ...["firmware-table.ts", "offer-rows.ts"].map((name) => `test/soak/${name}`),
    ...["firmwares.ts", "offers.ts", "office-dhcp.ts"].map((name) => `test/lab/firmware/${name}`),
  ],
  async run({ resumed, timeUp, signal, say, keep }) {
    const figures: Record<string, number | string> = { ...resumed };
    const wrong: string[] = [];
    const scope = await openScope({ signals: false });
    let running: Scope | undefined;
    const stop = () => void Promise.all([running?.close(), scope.close()]).catch(() => undefined);
    signal.addEventListener("abort", stop, { once: true });
    try {
      for (const [name, row] of Object.entries(TABLE)) {
        if (figures[name] !== undefined) continue;
        if (timeUp.aborted) break;
        const each = await openScope({ signals: false });
        running = each;
        try {
          const outcome = await outcomeOf(each, row);
          say(`${name}: ${outcome}`);
          if (outcome === row.outcome) await keep(Object.assign(figures, { [name]: outcome }));
          else wrong.push(`${name}: ${outcome} instead of ${row.outcome}`);
        } catch (error) {
          signal.throwIfAborted();
          wrong.push(`${name}: ${(error as Error).message}`); // the others are looked at all the same
        } finally {
          await each.close();
        }
      }
      if (wrong.length > 0) throw new Error(wrong.join("; "));
      return { done: Object.keys(TABLE).every((name) => figures[name] !== undefined), figures };
    } finally {
      signal.removeEventListener("abort", stop);
      await scope.close();
    }
  },
};

export async function outcomeOf(scope: Scope, { firmware, outcome: _, ...shape }: TableRow): Promise<Outcome> {
  // An IPv6 router: the card's iPXE would wait for one.
  const lan = await openLan(scope, { ipv6: firmware === "seabios" });
  const machine = await addMachine(scope, lan, { name: "metal", firmware, memoryMiB: 512, cpus: 1, diskGiB: 0 });
  const bootFile = firmware === "ovmf-http" ? "http://10.77.0.1:7780/boot.efi" : "boot.file";
  const row: OfferRow = { ...shape, bootFile };
  const server = await lan.spawn([process.execPath, OFFERS, JSON.stringify(row)], { name: "offers" });
  await server.waitFor(/ready/, 20_000);
  if (row.mode === "proxy") await startDhcp(scope, lan, "dnsmasq");
  await machine.powerOn();
  const seen = () => {
    const lines = server.output().split("\n");
    const count = (what: string) => lines.filter((line) => line === what).length;
    if (lines.some((line) => line === "http" || line === `tftp ${bootFile}`)) return "boots" as const;
    const gaveUp = GAVE_UP.test(machine.console());
    if (count("4011") >= (gaveUp ? 1 : HANGING_REQUESTS)) return "hangs" as const;
    return gaveUp || count("discover") >= IGNORED_DISCOVERS ? ("ignored" as const) : undefined;
  };
  const what = `what ${firmware} does`;
  return until(async () => seen(), { what, timeoutMs: ROW_MS, everyMs: 100, signal: scope.signal }).catch(
    (cause: unknown) => {
      throw new Error(`${server.output()}; console: ${machine.consoleTail(10).join(" | ")}`, { cause });
    },
  );
}

// What this machine is, read at the start and kept: an address that comes or changes shows within seconds, the rest within a minute.
import type { HostFacts } from "#api/host-agents.ts";
import type { Log } from "#lib/log.ts";
import { every } from "#lib/time.ts";
import { addressMark, type FactsOptions, readFacts } from "./facts.ts";

const LOOK_MS = 2_000;
const EVERY_MS = 60_000;

export interface OwnFacts {
  now(): HostFacts;
  run(signal: AbortSignal): Promise<void>;
}

export interface OwnFactsOptions extends Omit<FactsOptions, "controlUrls"> {
  controlUrls: () => readonly string[];
  /** Other addresses than before; `moved`: control was reached from one that is gone. */
  onChange: (moved: boolean) => void;
  log: Log;
}

export async function ownFacts({ controlUrls, onChange, log, ...options }: OwnFactsOptions): Promise<OwnFacts> {
  const read = () => readFacts({ ...options, controlUrls: controlUrls() });
  let facts = await read();
  return {
    now: () => facts,
    async run(signal) {
      let mark = "";
      let readMs = Number.NEGATIVE_INFINITY;
      for await (const _ of every(LOOK_MS, signal)) {
        const found = await addressMark({ ...options, controlUrls: controlUrls() });
        if (found === mark && performance.now() - readMs < EVERY_MS) continue;
        const before = facts;
        facts = await read().catch(() => facts);
        [mark, readMs] = [found, performance.now()];
        if (facts.address === before.address && String(facts.addresses) === String(before.addresses)) continue;
        log.info({ address: facts.address, addresses: facts.addresses }, "addresses of this machine have changed");
        onChange(before.address !== undefined && facts.address !== before.address);
      }
    },
  };
}

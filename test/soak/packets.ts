// Ten million packets of harm against everything that reads a stranger's bytes: nothing throws, no promise is broken, nothing is kept.
// An input that does is printed as a line for the corpus.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { chance, mutated } from "./packets/mutate.ts";
import { TARGETS, type Target } from "./packets/targets.ts";
import type { Soak } from "./soaks.ts";

const WANTED = Number(process.env["FLYNN_SOAK_PACKETS"] ?? 10_000_000);
const BATCH = 20_000;
/** What the heap may have grown by between a tenth of the way and the end. */
const GROWTH_BYTES = 48 << 20;

export const packets: Soak = {
  what: `${WANTED} hostile packets: DHCP, TFTP, boot script, words of an initrd, answers of BMCs; no fault, no growth`,
  covers: ["bootstrap", "test/soak/packets", "test/soak/packets.ts"],
  async run({ resumed, timeUp, signal, say }) {
    let sent = Number(resumed?.["packets"] ?? 0);
    const seed = Number(resumed?.["seed"] ?? Date.now() % 0x7fffffff);
    const next = chance(seed + sent);
    const targets = Object.entries(TARGETS);
    let early: number | undefined;
    let most = 0;
    while (sent < WANTED && !timeUp.aborted) {
      signal.throwIfAborted();
      for (const [name, target] of targets) batch(name, target, next, seed);
      sent += BATCH * targets.length;
      const heap = heapBytes();
      most = Math.max(most, heap);
      if (early === undefined && sent >= WANTED / 10) early = heap;
      if (sent % (BATCH * targets.length * 20) === 0) say(`${sent} packets, heap ${Math.round(heap / 2 ** 20)} MiB`);
      await new Promise(setImmediate);
    }
    if (early !== undefined && heapBytes() > early + GROWTH_BYTES)
      throw new Error(`the heap grew from ${early} to ${heapBytes()} bytes`);
    return { done: sent >= WANTED, figures: { packets: sent, seed, heapMostMib: Math.round(most / 2 ** 20) } };
  },
};

function batch(name: string, { samples, read }: Target, next: ReturnType<typeof chance>, seed: number): void {
  for (let n = 0; n < BATCH; n++) {
    const bytes = mutated(samples, next);
    try {
      read(bytes);
    } catch (cause) {
      throw new Error(`${name}, seed ${seed}: corpus line: hex ${bytes.toString("hex")}`, { cause });
    }
  }
}

/** After a collection: what is left is what is kept. */
function heapBytes(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().heapUsed;
}

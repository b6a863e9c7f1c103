// CPU as people write it. Pure.
import { parseCpu } from "#lib/units.ts";

export const CPU_WANTED = "CPUs such as 0.5 or 2, or thousandths of one such as 500m";

/** More than any host has: somebody thinks in thousandths. */
const CPUS_MOST = 99;

/** In thousandths of a CPU; undefined when it is neither, or a bare number that can only mean thousandths. */
export function cpuMillis(text: string): number | undefined {
  const millis = parseCpu(text);
  return millis !== undefined && !text.trim().endsWith("m") && millis > CPUS_MOST * 1_000 ? undefined : millis;
}

// What a job asks of a host and what a host has: three whole numbers, compared dimension by dimension.
import { formatCpu, formatSize } from "#lib/units.ts";

export interface Resources {
  cpuMillis: number;
  memoryMiB: number;
  diskMiB: number;
}

export type Dimension = keyof Resources;

export const DIMENSIONS: readonly Dimension[] = ["memoryMiB", "cpuMillis", "diskMiB"];

export const DIMENSION_NOUNS: Readonly<Record<Dimension, string>> = {
  memoryMiB: "memory",
  cpuMillis: "CPU",
  diskMiB: "disk",
};

const MAX = 2 ** 31 - 1;

/** As the typed arrays keep it: whole, not negative, under 2^31. A need rounds up, a capacity down. */
export function wholeNeed(need: Resources): Resources {
  return map(need, Math.ceil);
}

export function wholeCapacity(capacity: Resources): Resources {
  return map(capacity, Math.floor);
}

function map({ cpuMillis, memoryMiB, diskMiB }: Resources, round: (value: number) => number): Resources {
  const whole = (value: number) => (value > 0 ? Math.min(MAX, round(value)) : 0);
  return { cpuMillis: whole(cpuMillis), memoryMiB: whole(memoryMiB), diskMiB: whole(diskMiB) };
}

/** `2 GiB memory`, `0.5 CPU`, `10 GiB disk`. */
export function formatAmount(dimension: Dimension, amount: number): string {
  return `${formatQuantity(dimension, amount)} ${DIMENSION_NOUNS[dimension]}`;
}

export function formatQuantity(dimension: Dimension, amount: number): string {
  const shown = Math.max(0, amount);
  return dimension === "cpuMillis" ? formatCpu(shown) : formatSize(shown * 1024 ** 2);
}

// People write `30s`, `4GiB`, `0.5` CPUs; the code uses milliseconds, bytes and millicores. Converted once, at the border.

const DURATION_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE_BYTES: Record<string, number> = {
  "": 1,
  b: 1,
  k: 1024,
  kb: 1000,
  kib: 1024,
  m: 1024 ** 2,
  mb: 1000 ** 2,
  mib: 1024 ** 2,
  g: 1024 ** 3,
  gb: 1000 ** 3,
  gib: 1024 ** 3,
  t: 1024 ** 4,
  tb: 1000 ** 4,
  tib: 1024 ** 4,
};

/** `1500ms`, `30s`, `5m`, `2h`, `7d` -> milliseconds; undefined when it is none of these. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim());
  return match ? Math.round(Number(match[1]) * DURATION_MS[match[2]!]!) : undefined;
}

/** `512MiB`, `4GiB`, `10GB`, `1048576` -> bytes; undefined when it is none of these. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  const unit = match?.[2]?.toLowerCase();
  if (match === null || unit === undefined || !Object.hasOwn(SIZE_BYTES, unit)) return undefined;
  return Math.round(Number(match[1]) * SIZE_BYTES[unit]!);
}

/** `0.5` and `2` (CPUs), `500m` (thousandths of one) -> millicores; undefined when it is none of these. */
export function parseCpu(text: string): number | undefined {
  const match = /^(\d{1,7}(?:\.\d{1,3})?)(m?)$/.exec(text.trim());
  if (match === null || (match[2] === "m" && match[1]!.includes("."))) return undefined;
  return match[2] === "m" ? Number(match[1]) : Math.round(Number(match[1]) * 1_000);
}

/** In CPUs, everywhere people see it: `0.5`, `2`. */
export const formatCpu = (millis: number): string => String(millis / 1_000);

export function formatSize(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let value = bytes;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at++;
  }
  return `${at === 0 || value >= 100 ? Math.round(value) : Number(value.toFixed(1))} ${units[at]}`;
}

/** `840ms`, `12.3s`, `4m05s`, `3h10m`, `2d4h`. */
export function formatDuration(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)}ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)}s`;
  const s = Math.round(ms / 1_000);
  if (s < 3_600) return `${Math.floor(s / 60)}m${String(s % 60).padStart(2, "0")}s`;
  if (s < 86_400) return `${Math.floor(s / 3_600)}h${String(Math.floor((s % 3_600) / 60)).padStart(2, "0")}m`;
  return `${Math.floor(s / 86_400)}d${Math.floor((s % 86_400) / 3_600)}h`;
}

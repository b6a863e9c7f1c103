// Durations and moments as people write them on the command line.
import { Fault } from "#api/fault.ts";
import { parseDuration } from "#lib/units.ts";

export function durationMs(what: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms === undefined) throw new Fault("invalid", `${what} ${text}: write a time such as 30s, 5m or 2h`);
  return ms;
}

/** `10m` is ten minutes ago; else a date and time. ISO 8601, UTC. */
export function moment(what: string, text: string | undefined, nowMs = Date.now()): string | undefined {
  if (text === undefined) return undefined;
  const agoMs = parseDuration(text);
  const atMs = agoMs === undefined ? Date.parse(text) : nowMs - agoMs;
  if (!Number.isFinite(atMs))
    throw new Fault("invalid", `${what} ${text}: write 10m, 2h, or a date such as 2026-01-31T12:00:00Z`);
  return new Date(atMs).toISOString();
}

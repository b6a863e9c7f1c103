// What goes wrong with a BMC: a Fault whose code from a closed list goes onto the machine's timeline.
import { Fault, type FaultCode, isFault } from "#api/fault.ts";
import type { BmcCode } from "#api/power.ts";

const FAULT_OF: Partial<Record<BmcCode, FaultCode>> = {
  "bmc-password": "unauthenticated",
  "bmc-privilege": "forbidden",
  "bmc-unset": "conflict",
  "bmc-timeout": "timeout",
  "bmc-unsupported": "conflict",
};

export const trouble = (code: BmcCode, message: string, cause?: unknown): Fault =>
  new Fault(FAULT_OF[code] ?? "unavailable", message, { ...(cause === undefined ? {} : { cause }), details: { code } });

export const troubleCode = (error: unknown): BmcCode | undefined =>
  isFault(error) ? (error.details?.["code"] as BmcCode | undefined) : undefined;

/** Text of a stranger, fit for a timeline: printable, one line, short. */
export const cleanText = (text: string, most = 160): string =>
  text
    .replace(/[^\x20-\x7e\u00a1-\u024f]+/g, " ")
    .replace(/ {2,}/g, " ")
    .trim()
    .slice(0, most);

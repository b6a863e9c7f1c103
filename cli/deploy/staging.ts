// A staged deployment as people ask for it: where it pauses, and the share of requests that the new release has meanwhile.
import { Fault } from "#api/fault.ts";
import type { Flag, Invocation } from "../parse/command.ts";

export const PAUSE_AFTER: Flag = {
  name: "pause-after",
  value: "JOBS",
  help: "Pause once so many new jobs of each process are healthy; go on with `flynn deployment resume`",
};
export const STAGING: readonly Flag[] = [
  PAUSE_AFTER,
  {
    name: "canary",
    value: "PERCENT",
    help: "Give the new release this share of the requests while it is paused, such as 5% (pauses after 1 job unless said)",
  },
];

/** What the flags ask for; undefined fields are left out. */
export function stagingOf(call: Invocation): { pauseAfter?: number; canaryPercent?: number } {
  const canary = call.text("canary");
  const pause = pauseAfter(call) ?? (canary === undefined ? undefined : 1);
  return {
    ...(pause === undefined ? {} : { pauseAfter: pause }),
    ...(canary === undefined ? {} : { canaryPercent: percentOf(canary) }),
  };
}

export function pauseAfter(call: Invocation): number | undefined {
  const text = call.text("pause-after");
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,3}$/.test(text))
    throw new Fault("invalid", `--pause-after ${text}: give a number of jobs, such as --pause-after 1`);
  return Number(text);
}

/** `5%` or `5`. */
export function percentOf(text: string): number {
  const percent = /^(\d{1,3})%?$/.exec(text)?.[1];
  if (percent === undefined || Number(percent) > 100)
    throw new Fault("invalid", `--canary ${text}: give a share of the requests from 0% to 100%, such as --canary 5%`);
  return Number(percent);
}

// Options of http routes that are said by a word: how jobs are spoken to, and what one client may ask.
import { Fault } from "#api/fault.ts";
import type { RouteProtocol, RouteRate } from "#api/routes.ts";
import type { Flag, Invocation } from "../parse/command.ts";

export const WORDS: readonly Flag[] = [
  { name: "protocol", value: "h2c", help: "Speak HTTP/2 to its jobs, which gRPC needs (grpc says the same)" },
  {
    name: "rate",
    value: "N/s|N/m|N/h",
    help: "What one client may ask a second, minute or hour; more is answered 429",
  },
];
export const WORDS_OF_UPDATE: readonly Flag[] = [
  { ...WORDS[0]!, value: "h2c|http1" },
  { ...WORDS[1]!, value: "N/s|N/m|N/h|none" },
];

interface Said {
  protocol?: RouteProtocol | null;
  rate?: RouteRate | null;
}

export const saidOfNew = (call: Invocation) => said(call) as { protocol?: RouteProtocol; rate?: RouteRate };

/** `http1` and `none` take an option back. */
export function saidOfUpdate(call: Invocation): Said {
  const taken: Said = {};
  if (call.text("protocol") === "http1") taken.protocol = null;
  if (call.text("rate") === "none") taken.rate = null;
  return { ...taken, ...said(call, taken) };
}

function said(call: Invocation, taken: Said = {}): Said {
  const [protocol, rate] = [call.text("protocol"), call.text("rate")];
  return {
    ...(protocol === undefined || taken.protocol === null ? {} : { protocol: protocolOf(protocol) }),
    ...(rate === undefined || taken.rate === null ? {} : { rate: rateOf(rate) }),
  };
}

function protocolOf(text: string): RouteProtocol {
  if (text === "h2c" || text === "grpc") return "h2c";
  throw new Fault("invalid", `--protocol is h2c (or grpc, which means the same), not ${text}`);
}

const PERIODS = { s: "second", m: "minute", h: "hour" } as const;

export function rateOf(text: string): RouteRate {
  const [, count, letter] = /^(\d{1,7})\/([smh])$/.exec(text) ?? [];
  const requests = Number(count);
  if (letter === undefined || requests < 1 || requests > 1_000_000)
    throw new Fault("invalid", `--rate is a number a second, minute or hour, such as 100/m, not ${text}`);
  return { requests, per: PERIODS[letter as keyof typeof PERIODS] };
}

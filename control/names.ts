// Names made from what machines and people offer: always valid, never taken twice.
import { Fault } from "#api/fault.ts";
import { randomText } from "#lib/ids.ts";

/** `wanted` made a valid host name, with a number behind it while taken. */
export function hostName(wanted: string, taken: readonly string[]): string {
  const base =
    wanted
      .toLowerCase()
      .replace(/[^a-z0-9-]+/g, "-")
      .replace(/^[^a-z]+/, "")
      .slice(0, 26)
      .replace(/-+$/, "") || "host";
  const used = new Set(taken);
  if (!used.has(base)) return base;
  for (let n = 2; ; n++) if (!used.has(`${base}-${n}`)) return `${base}-${n}`;
}

const RESERVED = new Set(["www", "api", "dashboard", "registry", "router", "control", "flynn", "localhost"]);

/** Fault `invalid` for names that the platform keeps for itself. */
export function checkAppName(name: string): void {
  if (RESERVED.has(name)) throw new Fault("invalid", `the name ${name} is reserved`, { details: { field: "name" } });
}

const FIRST = [
  "brave",
  "calm",
  "clever",
  "eager",
  "gentle",
  "happy",
  "keen",
  "lively",
  "noble",
  "proud",
  "quiet",
  "swift",
  "vivid",
  "warm",
  "wise",
  "young",
];
const SECOND = [
  "badger",
  "comet",
  "falcon",
  "harbor",
  "heron",
  "island",
  "lantern",
  "maple",
  "meadow",
  "otter",
  "pebble",
  "raven",
  "river",
  "summit",
  "thicket",
  "willow",
];

/** A name for an app whose maker gave none. */
export function appName(random: () => number = Math.random): string {
  const pick = (words: string[]) => words[Math.floor(random() * words.length)]!;
  return `${pick(FIRST)}-${pick(SECOND)}-${randomText(4)}`;
}

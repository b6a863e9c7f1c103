// What every part says of itself when it speaks to another, in one header of each request and each answer: the product's version,
// the protocol it speaks with the oldest it still understands, and names of what it can do. Who says nothing is of before that.
import { type Static, Type } from "typebox";
import { VERSION } from "#lib/version.ts";
import { object, oneOf } from "./schema.ts";

export const HELLO_HEADER = "flynn-hello";

/** Raised by a change that an older part cannot ignore. New fields and endpoints raise nothing: what is unknown is ignored. */
export const PROTOCOL = 1;
/** Raised only after a release that spoke the newer one too, so that parts can be upgraded one by one. */
export const OLDEST_PROTOCOL = 1;

export const PartName = oneOf(["control", "hostd", "router", "boot-server", "cli"]);
export type PartName = Static<typeof PartName>;

/** What a peer may count on. A name is never used again for anything else. */
export const CAPABILITIES: Record<PartName, readonly string[]> = {
  control: ["alerts", "beats", "builds", "reach", "renewal", "report-changes", "sessions", "target-changes"],
  hostd: ["builds", "disks", "job-parts", "parts", "reach", "reboot", "renewal", "sessions", "space"],
  router: ["certificates", "renewal", "request-log", "tcp"],
  "boot-server": ["observed", "relay", "renewal"],
  cli: [],
};

export const Hello = object({
  part: PartName,
  version: Type.String({ description: "Of the product, such as 0.1.0." }),
  protocol: Type.Integer({ description: "Newest protocol it speaks." }),
  oldestProtocol: Type.Integer({ description: "Oldest protocol it understands." }),
  capabilities: Type.Array(Type.String()),
});
export type Hello = Static<typeof Hello>;

export const ownHello = (part: PartName): Hello => ({
  part,
  version: VERSION,
  protocol: PROTOCOL,
  oldestProtocol: OLDEST_PROTOCOL,
  capabilities: [...CAPABILITIES[part]],
});

/** Of a part that says nothing of itself: it was made before parts did. */
export const silentHello = (part: PartName): Hello => ({
  part,
  version: "0.1.0",
  protocol: 1,
  oldestProtocol: 1,
  capabilities: [],
});

/** `hostd/0.1.0 protocol=1 oldest=1 can=builds,reach` */
export function formatHello({ part, version, protocol, oldestProtocol, capabilities }: Hello): string {
  const can = capabilities.length === 0 ? "" : ` can=${capabilities.join(",")}`;
  return `${part}/${version} protocol=${protocol} oldest=${oldestProtocol}${can}`;
}

const LENGTH_MOST = 1_024;
const CAPABILITIES_MOST = 64;
const PARTS: readonly string[] = Object.keys(CAPABILITIES);

/** Undefined for what is none. Words that are not known here are of a newer part, and passed over. */
export function parseHello(text: unknown): Hello | undefined {
  if (typeof text !== "string" || text.length > LENGTH_MOST) return undefined;
  const [name = "", ...words] = text.split(" ");
  const named = /^([a-z-]{1,32})\/([0-9A-Za-z.+-]{1,32})$/.exec(name);
  if (named === null || !PARTS.includes(named[1]!)) return undefined;
  const said = (key: string) => words.find((word) => word.startsWith(`${key}=`))?.slice(key.length + 1);
  const [protocol, oldestProtocol] = [numberOf(said("protocol")), numberOf(said("oldest"))];
  if (protocol === undefined || oldestProtocol === undefined || oldestProtocol > protocol) return undefined;
  const can = (said("can") ?? "").split(",").filter((each) => /^[a-z][a-z0-9-]{0,39}$/.test(each));
  const capabilities = can.slice(0, CAPABILITIES_MOST);
  return { part: named[1] as PartName, version: named[2]!, protocol, oldestProtocol, capabilities };
}

const numberOf = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d{1,4}$/.test(text) ? Number(text) : undefined;

const NAMES: Record<PartName, string> = {
  control: "control",
  hostd: "this host's agent (hostd)",
  router: "the router",
  "boot-server": "the boot server",
  cli: "this flynn command",
};

/** What to do about a part that is too old for the version given. */
const UPGRADE: Record<PartName, (version: string) => string> = {
  control: (version) => `update the appliance first: install flynn ${version} there and run \`flynn up\` again`,
  hostd: (version) =>
    `boot the host with an image of ${version} (\`flynn image rollout IMAGE\`), or start hostd ${version} on it`,
  router: (version) => `start the router of ${version}; on the appliance \`flynn up\` of ${version} does`,
  "boot-server": (version) => `start the boot server of ${version}; on the appliance \`flynn up\` of ${version} does`,
  cli: (version) => `install flynn ${version}, or run the command on the appliance`,
};

/** Why two parts cannot speak, and what to do; undefined when they can. The same words on both sides. */
export function incompatibility(one: Hello, other: Hello): string | undefined {
  const [older, newer] =
    one.protocol < other.oldestProtocol
      ? [one, other]
      : other.protocol < one.oldestProtocol
        ? [other, one]
        : [undefined, undefined];
  if (older === undefined) return undefined;
  return `${NAMES[older.part]} is too old: ${older.version} speaks protocol ${older.protocol}, and ${NAMES[newer.part]}, ${newer.version}, needs ${newer.oldestProtocol}; ${UPGRADE[older.part](newer.version)}`;
}

/** By numbers, as versions are ordered; a negative number when `a` is the older. What is no version is as old as can be. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split(/[.+-]/, 3).map((each) => Number.parseInt(each, 10) || 0));
  for (let n = 0; n < 3; n++) {
    const difference = (left![n] ?? 0) - (right![n] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** `0.1.0, protocol 1`: for people. */
export const helloText = ({ version, protocol }: Hello): string => `${version}, protocol ${protocol}`;

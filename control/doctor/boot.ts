// A machine's timeline as the doctor reads it: how far it came, what stands in its way, and how often it began. Pure.
import type { BootCode } from "#api/boot-codes.ts";
import type { MachineIdentity } from "#api/machine-identity.ts";
import type { MachineOrder } from "#api/machine-orders.ts";
import type { Machine, Stage, TimelineEvent } from "#api/machines.ts";

export interface Circumstances {
  now: Date;
  /** Boot servers that control hears. */
  bootServers: number;
  /** When its host was last heard, if ever. */
  hostSeenAt?: string | undefined;
  /** Why its host's container engine does not work. */
  engineReason?: string | undefined;
  /** Why control and its agent do not understand each other. */
  agentRefusal?: string | undefined;
  /** Names of other machines that show its UUID. */
  sameUuid?: readonly string[];
  /** The order that it carries out, else the newest that it was given lately. */
  order?: MachineOrder | undefined;
}

export interface Boot extends Circumstances {
  machine: Machine;
  /** What it said of itself last. */
  identity: MachineIdentity;
  events: readonly TimelineEvent[];
  /** Of the newest try, from the firmware's first DISCOVER on. */
  current: readonly TimelineEvent[];
  /** The newest step that shows progress. */
  last: TimelineEvent | undefined;
  /** Since anything at all was heard of it. */
  silentMs: number;
  /** What went wrong and was not got over since. */
  trouble: TimelineEvent | undefined;
  /** How often the same went wrong in the time that counts. */
  troubleTimes: number;
}

/** How far each step is on the way to a host. */
const RANK: Partial<Record<Stage, number>> = {
  power: 0,
  discover: 1,
  offer: 2,
  tftp: 3,
  "wait-approval": 4,
  approved: 4,
  script: 5,
  kernel: 6,
  initrd: 7,
  squashfs: 8,
  seed: 9,
  "cloud-init": 10,
  join: 11,
  disk: 12,
  docker: 13,
  ready: 14,
};
const READY = RANK.ready!;
/** An address taken, or port 4011 asked, is further than an offer. */
const TAKEN = 2.5;

/** How far a machine must come to have got over each of these: further than this. */
const TROUBLE: Partial<Record<BootCode, number>> = {
  "power-ignored": 0,
  "bmc-password": 0,
  "bmc-unreachable": 0,
  "wol-only": 0,
  "override-ignored": READY,
  "pool-empty": 1,
  "no-boot-file": 3,
  "late-link": 2,
  nak: 1,
  "wrong-network": 1,
  declined: 1,
  "other-server": 2,
  "rogue-server": 2,
  "boot-server-again": TAKEN,
  "tftp-unanswered": 3,
  "tftp-stalled": 3,
  "tftp-loss": 3,
  "tftp-broken-off": 3,
  "tftp-unknown-file": TAKEN,
  "http-broken-off": 3,
  "loader-refused": 3,
  "ipxe-without-http": 3,
  "not-its-card": 4,
  changed: 4,
  "target-unknown": 4,
  "waits-turn": 4,
  "no-image": 4,
  "no-image-for-architecture": 4,
  "image-not-servable": 4,
  "kernel-word": 4,
  "cloud-config": 4,
  "ipxe-failed": 7,
  "initrd-memory": 8,
  "initrd-no-port": 8,
  "initrd-no-address": 8,
  "initrd-fetch": 8,
  "initrd-hash": 8,
  "initrd-image": 8,
  "token-other-card": 10,
  "token-joined": 10,
  "token-expired": 10,
  "token-superseded": 10,
  "token-machine-gone": 10,
  "cloud-init-failed": 10,
  "agent-unreachable": 10,
  "agent-clock": 10,
  "agent-certificate": 10,
  "agent-version": 10,
  "agent-refused": 10,
  "join-withheld": 10,
  "join-waits": 10,
  "join-replayed": 10,
  "join-refused": 10,
  "join-tpm": 10,
  "disk-none": READY,
  "disk-not-empty": READY,
  "disk-missing": READY,
  "disk-failed": READY,
  "wipe-refused": READY,
  "install-refused": READY,
  "install-failed": READY,
  "slot-fell-back": READY,
  "loop-guard": READY,
};
/** Told of beside the cause, or after it: they count where nothing else does. */
const WEAK: readonly BootCode[] = ["ipxe-failed", "tftp-unknown-file", "cloud-init-failed", "join-waits", "late-link"];
/** A machine without disk is a host all the same. */
const NO_STALL: readonly BootCode[] = [
  "disk-none",
  "disk-not-empty",
  "disk-missing",
  "disk-failed",
  "wipe-refused",
  "install-refused",
  "install-failed",
  "slot-fell-back",
];

/** A machine that is refused begins again within a minute or two, and its newest boot says nothing of why. */
const AGAIN_MS = 15 * 60_000;
/** An iPXE that was fetched asks for an address of its own within this time. */
const CHAINED_MS = 300_000;

export const codeOf = ({ detail }: Pick<TimelineEvent, "detail">): BootCode | undefined =>
  detail?.["code"] as BootCode | undefined;
export const isCode =
  (...codes: BootCode[]) =>
  (event: TimelineEvent): boolean =>
    codes.includes(codeOf(event)!);
const atMs = ({ at }: TimelineEvent): number => Date.parse(at);
export const rankOf = (event: TimelineEvent): number =>
  isCode("address-taken", "boot-server-asked")(event) ? TAKEN : (RANK[event.stage] ?? -1);

/** A step that shows that the machine came so far. */
export function isProgress(event: TimelineEvent): boolean {
  const code = codeOf(event);
  if (RANK[event.stage] === undefined || (event.level ?? "info") !== "info") return false;
  if (event.stage === "power") return code === "power-on" || code === "power-cycle";
  if (code === "rung" || code === "firmware-learnt") return false; // said of it, done by nobody
  return code === undefined || TROUBLE[code] === undefined || NO_STALL.includes(code);
}

/** One that was fetched to the end, or over HTTP. */
export const isFetch = (event: TimelineEvent): boolean => event.stage === "tftp" && isProgress(event);

export function readBoot(machine: Machine, events: readonly TimelineEvent[], circumstances: Circumstances): Boot {
  const nowMs = circumstances.now.getTime();
  const current = events.slice(beginOf(events)).filter(isOfBoot(machine, events));
  const standing = standingTroubles(events, current, nowMs);
  const strong = standing.filter((event) => !WEAK.includes(codeOf(event)!));
  const trouble = strong.at(-1) ?? standing.at(-1);
  const newest = events.at(-1);
  return {
    ...circumstances,
    machine,
    identity: machine.claimed ?? machine.identity,
    events,
    current,
    last: current.findLast(isProgress) ?? events.findLast(isProgress),
    silentMs: newest === undefined ? 0 : Math.max(0, nowMs - atMs(newest)),
    trouble,
    troubleTimes: trouble === undefined ? 0 : standing.filter((event) => codeOf(event) === codeOf(trouble)).length,
  };
}

/** False for what an earlier boot left; of no boot, or from the newest one's beginning on, is everything of it. */
function isOfBoot({ bootId }: Machine, events: readonly TimelineEvent[]): (event: TimelineEvent) => boolean {
  const first = bootId === undefined ? undefined : events.find((event) => event.bootId === bootId);
  return (event) =>
    first === undefined || event.bootId === undefined || event.bootId === bootId || event.at >= first.at;
}

/** Where the newest try begins: the firmware's DISCOVER, not that of an iPXE which it just fetched. */
function beginOf(events: readonly TimelineEvent[]): number {
  return Math.max(0, tryBegins(events).at(-1) ?? 0);
}

/** The first event of each try. */
export function tryBegins(events: readonly TimelineEvent[]): number[] {
  let fetchedMs = Number.NEGATIVE_INFINITY;
  return events.flatMap((event, n) => {
    if (isFetch(event)) fetchedMs = atMs(event);
    const isChained =
      (event.detail?.["kind"] === "ipxe" || codeOf(event) === "ipxe-without-http") &&
      atMs(event) - fetchedMs < CHAINED_MS;
    return event.stage === "discover" && !isChained && !isCode("late-link")(event) ? [n] : [];
  });
}

function standingTroubles(
  events: readonly TimelineEvent[],
  current: readonly TimelineEvent[],
  nowMs: number,
): TimelineEvent[] {
  const newer = new Set(current);
  let furthest = -1;
  const found: TimelineEvent[] = [];
  for (const event of events.toReversed()) {
    const code = codeOf(event);
    const rank = code === undefined ? undefined : (TROUBLE[code] ?? stoppedRank(event, code));
    const counts = newer.has(event) || nowMs - atMs(event) < AGAIN_MS;
    if (rank !== undefined && counts && furthest <= rank && isTrouble(event, events)) found.unshift(event);
    if (isProgress(event)) furthest = Math.max(furthest, rankOf(event));
  }
  return found;
}

const stoppedRank = (event: TimelineEvent, code: BootCode): number | undefined =>
  code === "transfer-stopped" ? RANK[event.stage] : undefined;

/** The card's own iPXE may lack HTTP: the one that it fetches does not. */
const isTrouble = (event: TimelineEvent, events: readonly TimelineEvent[]): boolean =>
  !isCode("ipxe-without-http")(event) || events.some((one) => isFetch(one) && one.seq < event.seq);

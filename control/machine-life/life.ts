// A machine's boots that count against it, and what follows from them. Pure. A boot counts once its script was given; it is over when its
// initrd refused, or when a later one of the same machine began. `ready` ends all that came before; so does a person's decision.
import type { BootEvent } from "#api/boot.ts";
import { type FailedBoot, fallbackAfter } from "#api/boot-guard.ts";
import type { MachineRecord } from "../records.ts";

export interface LifeBoot {
  bootId: string;
  imageId?: string;
  /** By the clock of the boot server that saw it begin. */
  atMs: number;
  /** Its last step, or why it ended, in plain words. */
  seen?: string;
  /** It said itself that it goes no further, or was given something else since. */
  over?: true;
  /** Its initrd said no: it will say so again. */
  refused?: true;
}

export interface MachineLife {
  /** Oldest first. */
  boots: LifeBoot[];
  /** The last boot that counts no more. */
  after?: string;
  /** The last boot that was ready, and the kernel that its host reported. */
  ran?: { bootId: string; kernelId: string };
}

export interface GuardSettings {
  boots: number;
  withinMs: number;
}

export const NO_LIFE: MachineLife = { boots: [] };
const BOOTS_KEPT = 32;
/** What a script may be that begins no boot of ours. */
const OTHERWISE: ReadonlySet<string> = new Set(["rescue", "own-disk"]);

const STEPS: Partial<Record<BootEvent["stage"], string>> = {
  kernel: "it fetched its kernel and nothing after",
  initrd: "it fetched its initrd and nothing after",
  squashfs: "it fetched its root image and asked for no seed",
  seed: "cloud-init fetched its seed and no agent joined",
  join: "its agent joined and was never ready",
};

/** After what was seen of the machine's own boot. The same object when it tells nothing. */
export function lifeAfter(
  life: MachineLife,
  { stage, level, bootId, imageId, at, message, detail }: Omit<BootEvent, "eventId" | "claimed" | "observed">,
): MachineLife {
  if (stage === "script" && OTHERWISE.has(String(detail?.["code"]))) return lastOver(life);
  // Ids sort by when boots began: what is told late of an earlier one counts no more.
  if (bootId === undefined || (life.after !== undefined && bootId <= life.after)) return life;
  const known = life.boots.find((boot) => boot.bootId === bootId);
  if (known === undefined && stage !== "script") return life;
  const boot: LifeBoot = known ?? { bootId, ...(imageId ? { imageId } : {}), atMs: Date.parse(at) };
  const ended = stage === "boot-failed" && level === "error";
  const refusal = detail?.["refusal"];
  // A wire that was down is up the next time.
  const refused = ended && refusal !== undefined && refusal !== "network" && refusal !== "fetch";
  const seen = ended ? message.slice(0, 160) : boot.over ? undefined : STEPS[stage];
  const next: LifeBoot = {
    ...boot,
    ...(seen ? { seen } : {}),
    ...(ended ? { over: true as const } : {}),
    ...(refused ? { refused: true as const } : {}),
  };
  if (known !== undefined && next.seen === known.seen && next.over === known.over) return life;
  const boots = known === undefined ? [...life.boots, next] : life.boots.map((each) => (each === known ? next : each));
  return { ...life, boots: boots.slice(-BOOTS_KEPT) };
}

/** It was given something else than a boot of its own: what it booted last is over. */
function lastOver(life: MachineLife): MachineLife {
  const last = life.boots.at(-1);
  if (last === undefined || last.over) return life;
  return { ...life, boots: life.boots.with(-1, { ...last, over: true }) };
}

/** Those that are over without `ready`. */
export const failedBoots = ({ boots }: MachineLife): FailedBoot[] =>
  boots
    .filter(({ over }, n) => over || n < boots.length - 1)
    .map(({ bootId, imageId, atMs, seen }) => ({ bootId, imageId, atMs, end: seen }));

/** Nothing before this boot, and not this one, counts any more. */
export function begunAnew({ boots, after, ran }: MachineLife, bootId?: string): MachineLife {
  const last = bootId ?? boots.at(-1)?.bootId ?? after;
  return { boots: [], ...(last === undefined ? {} : { after: last }), ...(ran === undefined ? {} : { ran }) };
}

/**
 * Its host runs another kernel than the one of the machine's last boot: a boot began that was not told of yet, as of a host that keeps its
 * identity when control was away. Events of it that come late are of what runs.
 */
export const isUntold = (
  { ran }: MachineLife,
  machine: { bootId?: string | undefined },
  host: { bootId?: string | undefined } | undefined,
): boolean =>
  ran !== undefined && ran.bootId === machine.bootId && host?.bootId !== undefined && host.bootId !== ran.kernelId;

export interface FellBack {
  machine: MachineRecord;
  life: MachineLife;
  stage: NonNullable<MachineRecord["fallback"]>["stage"];
  reason: string;
  detail: Record<string, string | number>;
}

/** What its failed boots make of a machine; undefined: it goes on as it is. `lastGood`: of the cluster. */
export function fallenBack(
  machine: MachineRecord,
  life: MachineLife,
  { settings, lastGood, at }: { settings: GuardSettings; lastGood: string | undefined; at: string },
): FellBack | undefined {
  const failed = failedBoots(life);
  const imageId = machine.lastGoodImageId ?? lastGood;
  const { stage } = machine.fallback ?? {};
  const found = fallbackAfter({ ...settings, ...(stage ? { stage } : {}), ...(imageId ? { imageId } : {}) }, failed);
  if (found === undefined) return undefined;
  const reason = found.reason.slice(0, 400);
  const counted = life.boots.findIndex(({ bootId }) => bootId === found.after);
  return {
    machine: {
      ...machine,
      fallback: { stage: found.stage, ...(found.imageId ? { imageId: found.imageId } : {}), reason, at },
      reason,
      ...(found.stage === "rescue" ? { state: "failed" as const } : {}),
    },
    life: { ...life, boots: life.boots.slice(counted + 1), after: found.after },
    stage: found.stage,
    reason,
    detail: { to: found.stage, boots: failed.length, ...(found.imageId ? { imageId: found.imageId } : {}) },
  };
}

/** A person decides anew: it boots what it is to boot again, and everything counts from here. */
export function decidedAnew(machine: MachineRecord): MachineRecord {
  const { fallback, ...rest } = machine;
  if (fallback === undefined) return machine;
  return { ...rest, reason: "", state: machine.state === "failed" ? "approved" : machine.state };
}

// Carries one order out: looks before it acts, acts, and is done only when the BMC says that it is so. Begun anew at any point it does
// nothing twice: what is as wanted is left alone, and a cycle remembers that the machine was off.

import type { OrderReport, PowerWork } from "#api/bmc-work.ts";
import { Fault, isFault } from "#api/fault.ts";
import type { PowerState } from "#api/power.ts";
import { sleep } from "#lib/time.ts";
import { formatDuration } from "#lib/units.ts";
import type { Medium } from "../media/room.ts";
import type { Switch } from "./switch.ts";
import { cleanText, trouble, troubleCode } from "./trouble.ts";

export interface Waits {
  pollMs: number;
  /** Until a power cut, a shutdown and a start are seen. */
  hardMs: number;
  softMs: number;
  onMs: number;
  wakeMs: number;
  /** Until a machine that was switched on asks for its script from its ISO: firmware and a BMC that reads over the network are slow. */
  mediaMs: number;
  /** A BMC that does not answer is asked again for so long: many go away for a moment when the power changes. */
  silentMs: number;
}

export const WAITS: Waits = {
  pollMs: 2_000,
  hardMs: 120_000,
  softMs: 180_000,
  onMs: 120_000,
  wakeMs: 240_000,
  mediaMs: 900_000,
  silentMs: 90_000,
};

export interface Carrying {
  open: () => Switch;
  wake: () => Promise<void>;
  /** Whether anything was heard of the machine since then, on the monotonic clock. */
  heardSince: (sinceMs: number) => boolean;
  tell: (report: OrderReport) => void;
  /** Resolves when control agrees that it begins, or is away; false: it was taken back meanwhile, and nothing of it is to be done. */
  begins: (report: OrderReport) => Promise<boolean>;
  /** Resolves when it is written down that the machine was off, so that it is not switched off again. */
  rememberOff: () => Promise<void>;
  /** The ISO of this order's machine, served from now on until its end. */
  media: () => Promise<Medium>;
  waits?: Waits;
  signal: AbortSignal;
}

type End = Required<Pick<OrderReport, "end">> & OrderReport;

const done = (reason: string, power?: PowerState): End => ({
  step: reason,
  ...(power === undefined ? {} : { power }),
  end: { state: "done", reason },
});

/** Resolves with the end to report; throws only when the signal aborts. */
export async function carryOut(work: PowerWork, carrying: Carrying): Promise<End> {
  try {
    return work.bmc.kind === "wake" ? await wakeUp(work, carrying) : await switchIt(work, carrying);
  } catch (error) {
    carrying.signal.throwIfAborted();
    const code = troubleCode(error);
    const reason =
      isFault(error) && error.code !== "internal" ? error.message : "the boot server failed at it; its log says how";
    if (code === undefined && !isFault(error)) throw error;
    return {
      step: cleanText(reason, 400),
      end: { state: "failed", reason: cleanText(reason, 400), ...(code ? { code } : {}) },
    };
  }
}

async function wakeUp(
  { action }: PowerWork,
  { wake, heardSince, tell, waits = WAITS, signal }: Carrying,
): Promise<End> {
  if (action !== "on") throw trouble("bmc-unsupported", "Wake-on-LAN switches on and nothing else: set its BMC");
  const beganMs = performance.now();
  // Cards miss packets while their link comes up.
  for (let sent = 1; performance.now() - beganMs < waits.wakeMs; sent++) {
    await wake();
    if (sent === 1) tell({ step: "Wake-on-LAN sent; waits until the machine is heard" });
    const again = performance.now() + Math.min(20_000, 5_000 * sent, waits.wakeMs);
    while (performance.now() < again) {
      if (heardSince(beganMs)) return done("it was woken and is heard on the network", "on");
      await sleep(Math.min(waits.pollMs, 500), signal);
      signal.throwIfAborted();
    }
  }
  throw trouble(
    "wake-no-effect",
    `nothing was heard of it within ${formatDuration(waits.wakeMs)} of Wake-on-LAN: switch that on in its firmware, or it boots from its disk`,
  );
}

/** Why an order's work ends when its boot server does: it goes on at the next start. */
export const STOPS = new Error("the boot server stops");
const EJECT_MS = 60_000;

async function switchIt(work: PowerWork, carrying: Carrying): Promise<End> {
  if (work.boot !== "media") return switchOnce(work, carrying);
  const { waits = WAITS, signal, tell } = carrying;
  const medium = await carrying.media();
  const device = carrying.open();
  let reason = "";
  try {
    if (work.mode !== undefined && !medium.boots.includes(work.mode === "uefi" ? "uefi" : "bios"))
      throw trouble("bmc-unsupported", isoLacks(work.mode));
    if (device.drive === undefined)
      throw trouble("bmc-unsupported", "this kind of BMC has no virtual drive: use its Redfish");
    const end = await switchOnce(work, carrying, medium);
    if (end.end.state === "failed") return end;
    await takenOf(medium, { tell, waitMs: waits.mediaMs, pollMs: waits.pollMs, signal });
    const { mac, address } = medium.taken()!;
    reason = `it booted from its ISO: card ${mac} at ${address} asked for its script`;
    return done(reason, "on");
  } finally {
    // At the next start it goes on, and the machine may be reading it.
    if (signal.reason !== STOPS) await eject(device, medium, tell);
    await device.close();
  }
}

const isoLacks = (mode: "uefi" | "legacy"): string =>
  mode === "uefi"
    ? "the boot server has no loaders for UEFI to make an ISO of: flynn image build, and start it again"
    : "the boot server has no ipxe.iso to make an ISO for a BIOS of: apt-get install ipxe";

async function takenOf(
  medium: Medium,
  { tell, waitMs, pollMs, signal }: { tell: Carrying["tell"]; waitMs: number; pollMs: number; signal: AbortSignal },
): Promise<void> {
  const beganMs = performance.now();
  tell({ step: "it is on; waits until it asks for its script from its ISO", power: "on" });
  for (let toldMs = beganMs; medium.taken() === undefined; ) {
    const nowMs = performance.now();
    const passedMs = Math.round((nowMs - beganMs) / 1000) * 1000;
    if (nowMs - beganMs > waitMs)
      throw trouble(
        "media-no-effect",
        `it is on, and asked for no script from its ISO within ${formatDuration(waitMs)}: its BMC may not reach the boot server, or the machine has no way to it`,
      );
    if (nowMs - toldMs > 45_000) {
      toldMs = nowMs;
      tell({ step: `waits until it asks for its script from its ISO, ${formatDuration(passedMs)} so far` });
    }
    await sleep(pollMs, signal);
    signal.throwIfAborted();
  }
}

async function eject(device: Switch, medium: Medium, tell: Carrying["tell"]): Promise<void> {
  await medium.end();
  await device.drive?.eject(medium.url, AbortSignal.timeout(EJECT_MS)).catch((error: unknown) => {
    tell({ step: cleanText(`its ISO, which opens nothing any more, stays in its drive: ${String(error)}`, 400) });
  });
}

async function switchOnce(work: PowerWork, carrying: Carrying, medium?: Medium): Promise<End> {
  const { action, hard, boot, mode } = work;
  const { tell, rememberOff, waits = WAITS, signal } = carrying;
  const device = carrying.open();
  let { seenOff } = work;
  let overrideSet = false;
  const read = () => patiently(() => device.power(signal), waits, signal);
  const override = async () => {
    if (boot === undefined || overrideSet) return;
    if (medium !== undefined) {
      tell({ step: "puts its ISO into its virtual drive" });
      await patiently(async () => device.drive?.insert(medium.url, signal), waits, signal);
    }
    tell({ step: `tells its firmware to boot ${boot} once` });
    const reads = await patiently(() => device.bootOnce(boot, mode, signal), waits, signal);
    overrideSet = true;
    tell({ step: `its firmware boots ${boot} once; read back: ${reads}` });
  };
  let begun = seenOff;
  const begin = async (report: OrderReport) => {
    if (begun) return tell(report);
    begun = true;
    if (!(await carrying.begins(report))) throw new Fault("conflict", "it was taken back before anything was switched");
    signal.throwIfAborted();
  };
  /** A BMC that did not answer may have done it all the same: whether it did is seen, and it is not told twice. */
  const told = async (command: () => Promise<void>): Promise<unknown> => {
    try {
      await command();
      return undefined;
    } catch (error) {
      if (!PASSING.has(troubleCode(error) ?? "")) throw error;
      tell({ step: "its BMC did not answer; looks whether it did it" });
      return error;
    }
  };
  const off = async () => {
    await begin({ step: hard ? "cuts its power" : "asks it to shut down", power: "on", cuts: action === "cycle" });
    const silence = await told(() => device.off(hard, signal));
    const ms = hard ? waits.hardMs : waits.softMs;
    if (await becomes("off", ms)) return;
    if (silence !== undefined) throw silence;
    throw trouble(
      "power-no-effect",
      hard
        ? `its power was ordered off and is on after ${formatDuration(ms)}, says its BMC`
        : `it was asked to shut down and is on after ${formatDuration(ms)}; --force cuts its power`,
    );
  };
  const on = async () => {
    await override();
    await begin({ step: "switches it on", power: "off" });
    const silence = await told(() => device.on(signal));
    if (await becomes("on", waits.onMs)) return;
    if (silence !== undefined) throw silence;
    throw trouble(
      "power-no-effect",
      `its power was ordered on and is off after ${formatDuration(waits.onMs)}, says its BMC`,
    );
  };
  const becomes = async (wanted: PowerState, withinMs: number): Promise<boolean> => {
    const beganMs = performance.now();
    for (let toldMs = beganMs; ; ) {
      if ((await read()) === wanted) return true;
      const nowMs = performance.now();
      if (nowMs - beganMs > withinMs) return false;
      if (nowMs - toldMs > 45_000) {
        toldMs = nowMs;
        tell({
          step: `waits for it to be ${wanted}, ${formatDuration(Math.round((nowMs - beganMs) / 1000) * 1000)} so far`,
        });
      }
      await sleep(waits.pollMs, signal);
      signal.throwIfAborted();
    }
  };

  try {
    tell({ step: "asks its BMC whether it is on" });
    const state = await read();
    if (state === "unknown") throw trouble("bmc-answer", "its BMC does not say whether it is on");
    if (action === "off") {
      if (state === "off") return done("it was off already", "off");
      await off();
      return done("it is off", "off");
    }
    if (action === "on") {
      if (state === "off" && boot !== undefined && !seenOff) await rememberOff();
      if (state === "off") await on();
      else if (seenOff) return done("it is on", "on");
      else if (boot !== undefined)
        throw trouble("power-no-effect", `it is on, so nothing was told to boot ${boot}: order a cycle`);
      else return done("it was on already", "on");
      return done("it is on", "on");
    }
    if (seenOff && state === "on") return done("it was off and is on again", "on");
    if (state === "on") {
      await override();
      await off();
    }
    if (!seenOff) {
      await rememberOff();
      seenOff = true;
      tell({ step: "it is off", power: "off", seenOff: true });
    }
    await on();
    return done("it was off and is on again", "on");
  } finally {
    await device.close();
  }
}

const PASSING = new Set(["bmc-unreachable", "bmc-timeout", "bmc-busy"]);

/** Reads again while its BMC is away for a moment. */
async function patiently<T>(read: () => Promise<T>, { silentMs, pollMs }: Waits, signal: AbortSignal): Promise<T> {
  const untilMs = performance.now() + silentMs;
  for (;;) {
    try {
      return await read();
    } catch (error) {
      if (!PASSING.has(troubleCode(error) ?? "") || performance.now() > untilMs) throw error;
      await sleep(pollMs, signal);
      signal.throwIfAborted();
    }
  }
}

// Carries one order out: looks before it acts, acts, and is done only when the BMC says that it is so. Begun anew at any point it does
// nothing twice: what is as wanted is left alone, and a cycle remembers that the machine was off.

import type { OrderReport, PowerWork } from "#api/bmc-work.ts";
import { Fault, isFault } from "#api/fault.ts";
import type { PowerState } from "#api/power.ts";
import { sleep } from "#lib/time.ts";
import { formatDuration } from "#lib/units.ts";
import type { Medium } from "../media/room.ts";
import { bootFromMedia } from "./boot-media.ts";
import { type Carrying, done, type End, WAITS, type Waits } from "./carrying.ts";
import { cleanText, trouble, troubleCode } from "./trouble.ts";

/** Resolves with the end to report; throws only when the signal aborts. */
export async function carryOut(work: PowerWork, carrying: Carrying): Promise<End> {
  try {
    if (work.bmc.kind === "wake") return await wakeUp(work, carrying);
    return work.boot === "media" ? await bootFromMedia(work, carrying, switchOnce) : await switchOnce(work, carrying);
  } catch (error) {
    carrying.signal.throwIfAborted();
    if (troubleCode(error) === undefined && !isFault(error)) throw error;
    return failed(error);
  }
}

/** What control is told of an order that something was thrown in. */
export function failed(error: unknown): End {
  const code = troubleCode(error);
  const reason =
    isFault(error) && error.code !== "internal" ? error.message : "the boot server failed at it; its log says how";
  return {
    step: cleanText(reason, 400),
    end: { state: "failed", reason: cleanText(reason, 400), ...(code ? { code } : {}) },
  };
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
      await patiently(async () => device.drive?.insert(medium.url, carrying.putIn, signal), waits, signal);
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
  /** A machine that is off is not left off because the disk here is full: control keeps it too. */
  const remembered = () =>
    rememberOff().then(
      () => "it is off",
      () => "it is off, which could not be written down at the boot server: its log says why",
    );
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
      if (state === "off" && boot !== undefined && !seenOff) tell({ step: await remembered(), power: "off" });
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
      const step = await remembered();
      seenOff = true;
      tell({ step, power: "off", seenOff: true });
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

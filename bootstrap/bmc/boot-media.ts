// A boot from an ISO that is made for the order, put into the BMC's virtual drive, and taken out when the machine has asked for its script.
import type { PowerWork } from "#api/bmc-work.ts";
import { joined, sleep } from "#lib/time.ts";
import { formatDuration } from "#lib/units.ts";
import type { Medium } from "../media/room.ts";
import { type Carrying, done, type End, STOPS, WAITS } from "./carrying.ts";
import type { Switch } from "./switch.ts";
import { cleanText, trouble } from "./trouble.ts";

const EJECT_MS = 60_000;

/** `switchOn` is given the medium, to put it in before it tells the firmware. */
export async function bootFromMedia(
  work: PowerWork,
  carrying: Carrying,
  switchOn: (work: PowerWork, carrying: Carrying, medium: Medium) => Promise<End>,
): Promise<End> {
  const { waits = WAITS, signal, tell } = carrying;
  const medium = await carrying.media();
  const device = carrying.open();
  try {
    if (work.mode !== undefined && !medium.boots.includes(work.mode === "uefi" ? "uefi" : "bios"))
      throw trouble("bmc-unsupported", isoLacks(work.mode));
    if (device.drive === undefined)
      throw trouble("bmc-unsupported", "this kind of BMC has no virtual drive: use its Redfish");
    const end = await switchOn(work, carrying, medium);
    if (end.end.state === "failed") return end;
    await takenOf(medium, { tell, waitMs: waits.mediaMs, pollMs: waits.pollMs, signal });
    const { mac, address } = medium.taken()!;
    return done(`it booted from its ISO: card ${mac} at ${address} asked for its script`, "on");
  } finally {
    // At the next start it goes on, and the machine may be reading it.
    if (signal.reason !== STOPS) await eject(device, medium, carrying);
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

async function eject(
  device: Switch,
  medium: Medium,
  { tell, putIn, stopping }: Pick<Carrying, "tell" | "putIn" | "stopping">,
): Promise<void> {
  await medium.end();
  const limit = joined(stopping, AbortSignal.timeout(EJECT_MS));
  try {
    await device.drive?.eject(medium.url, putIn, limit.signal);
  } catch (error) {
    if (stopping.aborted) throw error;
    tell({ step: cleanText(`its ISO, which opens nothing any more, stays in its drive: ${String(error)}`, 400) });
  } finally {
    limit.release();
  }
}

// The virtual CD drive of a system, as its Redfish service has it: an image by its address is put in, read back, and taken out again. What
// somebody else put in is left alone.
import { sleep } from "#lib/time.ts";
import type { Drive, PutIn } from "../switch.ts";
import { cleanText, trouble } from "../trouble.ts";
import { at, type Json, linkAt, membersOf, textAt, textsAt } from "./answer.ts";
import type { Session } from "./session.ts";

export interface DriveOptions {
  address: string;
  /** The path of the system. */
  system: (signal: AbortSignal) => Promise<string>;
  pollMs?: number;
  /** Until what was put in, or taken out, is read back. */
  withinMs?: number;
}

interface Slot {
  path: string;
  value: Json;
}

/** ISOs of a boot server of ours, this one or one before it. */
const OURS = /^https?:\/\/[^/]+\/m\/[A-Za-z0-9_-]{43}\/boot\.iso$/;

export function virtualDrive(
  session: Session,
  { address, system, pollMs = 1_000, withinMs = 60_000 }: DriveOptions,
): Drive {
  const slots = async (signal: AbortSignal): Promise<Slot[]> => {
    const own = (await session.get(await system(signal), signal)).value;
    const managers = at(own, "Links", "ManagedBy");
    const direct = linkAt(own, "VirtualMedia");
    const collections = direct === undefined ? [] : [direct];
    if (direct === undefined && Array.isArray(managers))
      for (const manager of managers.slice(0, 4)) {
        const path = linkAt(manager);
        const found = path && linkAt((await session.get(path, signal)).value, "VirtualMedia");
        if (found) collections.push(found);
      }
    const found: Slot[] = [];
    for (const collection of collections)
      for (const path of membersOf((await session.get(collection, signal)).value).slice(0, 16)) {
        const { value } = await session.get(path, signal);
        if (isCdDrive(value, path)) found.push({ path, value });
      }
    if (found.length === 0) throw trouble("bmc-unsupported", `the BMC at ${address} has no virtual CD drive`);
    return found;
  };
  const act = async ({ path, value }: Slot, action: "Insert" | "Eject", body: Json, signal: AbortSignal) => {
    const target = textAt(value, "Actions", `#VirtualMedia.${action}Media`, "target");
    if (target !== undefined) return session.post(target, body, signal);
    // Older services have no such action: the image is a property there.
    const change = action === "Insert" ? body : { Image: null, Inserted: false };
    return session.patch(path, change, signal);
  };
  const becomes = async (path: string, isSo: (value: Json) => boolean, signal: AbortSignal): Promise<boolean> => {
    const untilMs = performance.now() + withinMs;
    for (;;) {
      if (isSo((await session.get(path, signal)).value)) return true;
      if (performance.now() > untilMs) return false;
      await sleep(pollMs, signal);
      signal.throwIfAborted();
    }
  };
  const empty = async (slot: Slot, signal: AbortSignal): Promise<void> => {
    await act(slot, "Eject", {}, signal);
    if (await becomes(slot.path, (value) => !isFull(value), signal)) return;
    throw trouble("bmc-media", `the virtual drive of the BMC at ${address} was told to eject, and reads back full`);
  };

  return {
    async insert(url, putIn, signal) {
      const drives = await slots(signal);
      if (drives.some((slot) => holds(slot, url, putIn))) return;
      const stale = drives.find(({ value }) => isFull(value) && OURS.test(textAt(value, "Image") ?? ""));
      if (stale !== undefined) await empty(stale, signal);
      const free = stale ?? drives.find(({ value }) => !isFull(value));
      if (free === undefined)
        throw trouble(
          "bmc-media",
          `the virtual drive of the BMC at ${address} holds ${cleanText(textAt(drives[0]!.value, "Image") ?? "something")}, which is not ours: eject it at the BMC first`,
        );
      await putIn.add(free.path);
      await act(free, "Insert", { Image: url, Inserted: true, WriteProtected: true }, signal);
      if (await becomes(free.path, (value) => holds({ path: free.path, value }, url, putIn), signal)) return;
      throw trouble("bmc-media", `the BMC at ${address} was told to put in an ISO, and reads back none of it`);
    },
    async eject(url, putIn, signal) {
      const ours = (await slots(signal)).filter((slot) => holds(slot, url, putIn));
      for (const slot of ours) await empty(slot, signal);
    },
  };
}

const isFull = (value: Json): boolean =>
  at(value, "Inserted") === true || (at(value, "Inserted") !== false && (textAt(value, "Image") ?? "") !== "");

/** Some show no address of what is in: then it is ours only where we put it in. */
function holds({ path, value }: Slot, url: string, putIn: PutIn): boolean {
  const image = textAt(value, "Image") ?? "";
  return isFull(value) && (image === url || (image === "" && putIn.has(path)));
}

function isCdDrive(value: Json, path: string): boolean {
  const types = textsAt(value, "MediaTypes");
  return types === undefined ? /cd|dvd/i.test(path) : types.some((type) => /^(CD|DVD)$/i.test(type));
}

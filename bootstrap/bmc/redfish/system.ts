// One computer system of a Redfish service: which it is, its power, what it boots once. What a service allows is read before it is
// asked for it; what was set is read back.
import type { BootDevice, BootMode, PowerState } from "#api/power.ts";
import type { Switch } from "../switch.ts";
import { cleanText, trouble } from "../trouble.ts";
import { type Json, linkAt, membersOf, textAt, textsAt } from "./answer.ts";
import { virtualDrive } from "./drive.ts";
import type { Session } from "./session.ts";

const TARGETS: Record<BootDevice, readonly string[]> = {
  pxe: ["Pxe"],
  http: ["UefiHttp"],
  disk: ["Hdd"],
  bios: ["BiosSetup"],
  media: ["Cd", "UsbCd"],
};
const MODES: Record<BootMode, string> = { uefi: "UEFI", legacy: "Legacy" };
const ON = ["On", "ForceOn", "PushPowerButton"] as const;
const HARD = ["ForceOff", "PushPowerButton"] as const;
const SOFT = ["GracefulShutdown", "PushPowerButton"] as const;

/** The one of these that is allowed; the first where nothing is said of it. Pure. */
export const allowed = (wanted: readonly string[], allowable: readonly string[] | undefined): string | undefined =>
  allowable === undefined ? wanted[0] : wanted.find((one) => allowable.includes(one));

export function powerStateOf(system: Json): PowerState {
  const state = textAt(system, "PowerState");
  if (state === "On" || state === "PoweringOff") return "on";
  if (state === "Off" || state === "PoweringOn") return "off";
  return "unknown";
}

/** What is wrong with the override that was read back; undefined when it stands. Pure. */
export function overrideFault(system: Json, target: string, mode: string | undefined): string | undefined {
  const [enabled, reads, modeReads] = ["Enabled", "Target", "Mode"].map((name) =>
    textAt(system, "Boot", `BootSourceOverride${name}`),
  );
  if (reads !== target) return `target ${reads ?? "nothing"}`;
  // Some know no `Once`: that it stays set is told, and is what machines of ours boot from anyway.
  if (enabled !== "Once" && enabled !== "Continuous") return `enabled ${enabled ?? "nothing"}`;
  if (mode !== undefined && modeReads !== undefined && modeReads !== mode) return `mode ${modeReads}`;
  return undefined;
}

export function redfishSwitch(
  session: Session,
  { address, systemId }: { address: string; systemId?: string | undefined },
): Switch {
  let found: string | undefined;
  const path = async (signal: AbortSignal): Promise<string> => {
    found ??= await findSystem(session, { address, systemId, signal });
    return found;
  };
  const reset = async (wanted: readonly string[], signal: AbortSignal): Promise<void> => {
    const { value } = await session.get(await path(signal), signal);
    const action = ["Actions", "#ComputerSystem.Reset"];
    const target = textAt(value, ...action, "target") ?? `${await path(signal)}/Actions/ComputerSystem.Reset`;
    const allowable =
      textsAt(value, ...action, "ResetType@Redfish.AllowableValues") ??
      (await allowableByInfo(session, textAt(value, ...action, "@Redfish.ActionInfo"), signal));
    const type = allowed(wanted, allowable);
    if (type === undefined)
      throw trouble(
        "bmc-unsupported",
        `the BMC at ${address} allows none of ${wanted.join(", ")}, only: ${cleanText((allowable ?? []).join(", "))}`,
      );
    await session.post(target, { ResetType: type }, signal);
  };
  return {
    power: async (signal) => powerStateOf((await session.get(await path(signal), signal)).value),
    on: (signal) => reset(ON, signal),
    off: (hard, signal) => reset(hard ? HARD : SOFT, signal),
    async bootOnce(device, wantedMode, signal) {
      const { value } = await session.get(await path(signal), signal);
      const targets = textsAt(value, "Boot", "BootSourceOverrideTarget@Redfish.AllowableValues");
      const target = allowed(TARGETS[device], targets);
      if (target === undefined)
        throw trouble(
          "bmc-unsupported",
          `the BMC at ${address} cannot boot ${TARGETS[device][0]} once, only: ${cleanText(targets?.join(", ") ?? "")}`,
        );
      const modes = textsAt(value, "Boot", "BootSourceOverrideMode@Redfish.AllowableValues");
      const mode = wantedMode === undefined ? undefined : MODES[wantedMode];
      if (mode !== undefined && modes !== undefined && !modes.includes(mode))
        throw trouble(
          "bmc-unsupported",
          `the BMC at ${address} cannot boot in mode ${mode}, only: ${cleanText(modes.join(", "))}`,
        );
      const Boot: { [name: string]: Json } = { BootSourceOverrideEnabled: "Once", BootSourceOverrideTarget: target };
      if (mode !== undefined) Boot["BootSourceOverrideMode"] = mode;
      await session.patch(await path(signal), { Boot }, signal);
      const set = (await session.get(await path(signal), signal)).value;
      const wrong = overrideFault(set, target, mode);
      const words = mode === undefined ? target : `${target}, ${mode}`;
      if (wrong !== undefined)
        throw trouble(
          "boot-override",
          `the BMC at ${address} was told to boot ${words} once, and reads back ${cleanText(wrong)}`,
        );
      const stays = textAt(set, "Boot", "BootSourceOverrideEnabled") === "Continuous";
      return stays ? `${words}; this BMC knows no once, it stays so until it is set anew` : words;
    },
    drive: virtualDrive(session, { address, system: path }),
    close: () => session.close(),
  };
}

async function findSystem(
  session: Session,
  { address, systemId, signal }: { address: string; systemId: string | undefined; signal: AbortSignal },
): Promise<string> {
  const root = await session.get("/redfish/v1/", signal);
  const systems = membersOf((await session.get(linkAt(root.value, "Systems") ?? "/redfish/v1/Systems", signal)).value);
  const idOf = (path: string) => path.replace(/\/$/, "").split("/").at(-1)!;
  const named = systemId === undefined ? systems : systems.filter((path) => idOf(path) === systemId);
  if (named.length === 1) return named[0]!;
  const ids = cleanText(systems.map(idOf).join(", "), 200);
  if (systemId !== undefined)
    throw trouble("bmc-system", `the BMC at ${address} has no system ${systemId}, only: ${ids || "none"}`);
  if (systems.length === 0) throw trouble("bmc-system", `the BMC at ${address} shows no system`);
  throw trouble("bmc-system", `the BMC at ${address} has several systems: say which, --system one of ${ids}`);
}

/** Newer services say what an action takes in a resource of its own. */
async function allowableByInfo(
  session: Session,
  path: string | undefined,
  signal: AbortSignal,
): Promise<string[] | undefined> {
  if (path === undefined) return undefined;
  const { value } = await session.get(path, signal);
  const parameters =
    typeof value === "object" && value !== null && !Array.isArray(value) ? value["Parameters"] : undefined;
  if (!Array.isArray(parameters)) return undefined;
  const reset = parameters.find((one) => textAt(one, "Name") === "ResetType");
  return textsAt(reset, "AllowableValues");
}

// How machines are switched, as the store keeps it: the password sealed for its machine, and opened for the boot server alone.
import type { BmcAccess } from "#api/bmc-work.ts";
import { Fault } from "#api/fault.ts";
import type { Bmc, BmcLook, PutBmc } from "#api/power.ts";
import { keys } from "../keys.ts";
import type { MachineRecord } from "../records.ts";
import type { Secrets } from "../secrets.ts";
import type { Reader } from "../store/entry.ts";
import { whyNoBmc } from "./bmc-address.ts";

export interface BmcRecord extends Omit<PutBmc, "password"> {
  machineId: string;
  sealed?: string;
  factoryPassword: boolean;
  setAt: string;
  setBy: string;
}

/** What BMCs leave their factories with, by maker: whoever reaches one tries these first. */
const FACTORY: readonly (readonly [user: string, password: string])[] = [
  ["ADMIN", "ADMIN"],
  ["root", "calvin"],
  ["USERID", "PASSW0RD"],
  ["root", "0penBmc"],
  ["root", "changeme"],
  ["root", "superuser"],
  ["root", "root"],
  ["Administrator", "Admin@9000"],
  ["Administrator", "superuser"],
  ["root", "Huawei12#$"],
  ["sysadmin", "superuser"],
];
const FACTORY_WORDS = ["admin", "password", "administrator", "changeme", "12345678", "default"];

/** True of what a BMC leaves its factory with, and of what is guessed first. Pure. */
export function isFactoryPassword(user: string, password: string): boolean {
  const low = password.toLowerCase();
  return (
    FACTORY.some(([name, word]) => name === user && word === password) ||
    FACTORY_WORDS.includes(low) ||
    low === user.toLowerCase()
  );
}

const IPMI_PASSWORD_MOST = 20;
const IPMI_USER_MOST = 16;

/** What was asked for, if it makes sense; else a Fault that names the field. Pure. */
export function checkedBmc(
  body: PutBmc,
  { kept, jobNetwork }: { kept: BmcRecord | undefined; jobNetwork: string },
): PutBmc {
  const refuse = (field: string, message: string) =>
    new Fault("invalid", `${field}: ${message}`, { details: { field } });
  const { kind, address, user, password, pinSha256, cipherSuite, systemId, bootBy } = body;
  if (kind === "wake") {
    const more = Object.keys(body).find((name) => name !== "kind");
    if (more !== undefined) throw refuse(more, "Wake-on-LAN takes nothing: it is sent to the machine's own cards");
    return body;
  }
  if (address === undefined) throw refuse("address", `of the BMC is needed for ${kind}`);
  if (user === undefined) throw refuse("user", `that logs in to the BMC is needed for ${kind}`);
  const whyNot = whyNoBmc(address, jobNetwork);
  if (whyNot !== undefined) throw refuse("address", whyNot);
  const keeps = kept?.sealed !== undefined && kept.kind === kind && kept.address === address && kept.user === user;
  if (password === undefined && !keeps)
    throw refuse(
      "password",
      kept?.sealed === undefined
        ? "is needed"
        : "is needed again: the one that is kept is not sent to another address, or for another user",
    );
  if (kind === "ipmi") {
    if (pinSha256 !== undefined) throw refuse("pinSha256", "IPMI shows no certificate");
    if (bootBy === "http" || bootBy === "media") throw refuse("bootBy", "IPMI knows pxe alone: set it with --redfish");
    if (systemId !== undefined) throw refuse("systemId", "IPMI knows one system only");
    if ((password?.length ?? 0) > IPMI_PASSWORD_MOST) throw refuse("password", "IPMI takes 20 characters at most");
    if (user.length > IPMI_USER_MOST) throw refuse("user", "IPMI takes 16 characters at most");
  } else if (cipherSuite !== undefined) throw refuse("cipherSuite", "only IPMI has those");
  return body;
}

/** True of one that can be told to switch it off and on: there, and its certificate accepted. */
export const canCycle = (bmc: BmcRecord | undefined): bmc is BmcRecord =>
  bmc !== undefined && bmc.kind !== "wake" && (bmc.kind !== "redfish" || bmc.pinSha256 !== undefined);

const ownerOf = (machineId: string): string => `BMC of machine ${machineId}`;

export function bmcRecord(
  secrets: Secrets,
  machineId: string,
  { password, ...settings }: PutBmc,
  { kept, at, by }: { kept: BmcRecord | undefined; at: string; by: string },
): BmcRecord {
  const sealed = password === undefined ? kept?.sealed : secrets.seal(password, ownerOf(machineId));
  const factoryPassword =
    password === undefined ? (kept?.factoryPassword ?? false) : isFactoryPassword(settings.user ?? "", password);
  const isWake = settings.kind === "wake";
  return {
    machineId,
    ...settings,
    ...(sealed === undefined || isWake ? {} : { sealed }),
    factoryPassword: !isWake && factoryPassword,
    setAt: at,
    setBy: by,
  };
}

export function shownBmc({ machineId: _, sealed, ...record }: BmcRecord, lastLook: BmcLook | undefined): Bmc {
  return { ...record, passwordSet: sealed !== undefined, ...(lastLook === undefined ? {} : { lastLook }) };
}

export const bmcOf = (store: Reader, machineId: string): BmcRecord | undefined =>
  store.get<BmcRecord>(keys.machineBmc(machineId))?.value;

/** How a machine is switched; a Fault that says what to do when nobody said. */
export function switchOf(store: Reader, { id, name }: Pick<MachineRecord, "id" | "name">): BmcRecord {
  const found = bmcOf(store, id);
  if (found !== undefined) return found;
  throw new Fault(
    "conflict",
    `nothing is known of how machine ${name} is switched; say it, such as: flynn machine bmc set ${name} --redfish https://10.0.0.9 --user root`,
  );
}

/** With the credential: for a boot server's stream and nothing else. */
export function accessOf(secrets: Secrets, record: BmcRecord, { macs }: Pick<MachineRecord, "macs">): BmcAccess {
  const { machineId, sealed, factoryPassword: _, setAt: __, setBy: ___, ...settings } = record;
  return {
    ...settings,
    ...(sealed === undefined ? {} : { password: secrets.open(sealed, ownerOf(machineId)) }),
    macs: [...macs],
  };
}

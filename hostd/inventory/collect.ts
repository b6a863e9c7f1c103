// What this machine is made of, read from the kernel and from a few programs. Each reader has its own time, and one that fails or hangs
// is a line in `unread`; the rest stands.
import { access } from "node:fs/promises";
import { totalmem } from "node:os";
import { type InventoryReport, REPORT_MOST_BYTES } from "#api/inventory.ts";
import { exec } from "#lib/exec.ts";
import { deadline } from "#lib/time.ts";
import { parseCpuinfo } from "./cpu.ts";
import { readInventoryDisks } from "./disks.ts";
import { readNics } from "./nics.ts";
import { parseSmbios, type Smbios } from "./smbios.ts";
import { bytesOf, namesIn, textOf } from "./sysfs.ts";
import { cut, field, natural, told } from "./text.ts";
import { parseLanPrint, parseMcInfo } from "./tools.ts";

/** What the machine says it is: what its six words stand for. */
export type Identity = Pick<InventoryReport, "mac" | "uuid" | "serial">;

export interface CollectOptions {
  identity: Identity;
  signal: AbortSignal;
  /** Roots, for tests. */
  sys?: string;
  proc?: string;
  lldp?: string;
  readDisks?: (signal: AbortSignal) => Promise<InventoryReport["disks"]>;
}

const DISKS_MS = 90_000;
const BMC_MS = 40_000;
const NICS_MS = 60_000;
const TABLE_MOST_BYTES = 1 << 20;
const CPUINFO_MOST_BYTES = 4 << 20;
const SECURE_BOOT = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/** `mac`: the card it booted from, else the first one. Undefined for a machine without any: nobody could ask for it. */
export async function readIdentity(mac: string | undefined, sys = "/sys"): Promise<Identity | undefined> {
  const [uuid, serial, first] = await Promise.all([
    textOf(`${sys}/class/dmi/id/product_uuid`),
    textOf(`${sys}/class/dmi/id/product_serial`),
    mac ?? firstCard(sys),
  ]);
  if (first === undefined) return undefined;
  const said = told(serial, 64)?.replaceAll(" ", "-");
  return { mac: first, ...field("uuid", uuidOf(uuid)), ...field("serial", said) };
}

export async function collect(options: CollectOptions): Promise<InventoryReport> {
  const { identity, signal, sys = "/sys", proc = "/proc", lldp = "/run/systemd/netif/lldp" } = options;
  const unread: string[] = [];
  const within = async <T>(what: string, ms: number, work: Promise<T>, else_: T): Promise<T> => {
    try {
      return await deadline(work, ms, what);
    } catch (error) {
      unread.push(cut(`${what}: ${error instanceof Error ? error.message : String(error)}`, 160));
      return else_;
    }
  };
  const dmi = await smbiosOf(sys);
  // Before the disks, whose reading keeps the threads of file access busy.
  const [cpu, ecc, firmware, tpm] = await Promise.all([
    textOf(`${proc}/cpuinfo`, CPUINFO_MOST_BYTES),
    eccOf(sys),
    firmwareOf(sys, dmi),
    textOf(`${sys}/class/tpm/tpm0/tpm_version_major`),
  ]);
  const [nics, virtualisation, bmc] = await Promise.all([
    within("network cards", NICS_MS, readNics({ sys, lldp, signal }), []),
    virtualisationOf(signal),
    dmi.hasBmc ? within("BMC", BMC_MS, bmcOf(signal), undefined) : undefined,
  ]);
  const disks = await within("disks", DISKS_MS, (options.readDisks ?? readInventoryDisks)(signal), []);
  const read = parseCpuinfo(cpu ?? "");
  return fitted({
    ...identity,
    system: dmi.system,
    firmware,
    cpu: { ...read, model: read.model || (dmi.cpuModel ?? "") },
    memory: { totalBytes: totalmem(), ...field("correction", dmi.correction), ...ecc, dimms: dmi.dimms },
    disks,
    nics,
    ...field("bmc", bmc),
    ...field("tpm", tpm === undefined ? undefined : { version: cut(`${tpm}${tpm === "2" ? ".0" : ""}`, 16) }),
    ...field("virtualisation", virtualisation),
    unread: unread.slice(0, 16),
  });
}

async function firstCard(sys: string): Promise<string | undefined> {
  for (const name of await namesIn(`${sys}/class/net`)) {
    const at = `${sys}/class/net/${name}`;
    const address = (await namesIn(`${at}/device`)).length > 0 ? await textOf(`${at}/address`) : undefined;
    if (address !== undefined && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(address)) return address;
  }
  return undefined;
}

async function smbiosOf(sys: string): Promise<Smbios> {
  return parseSmbios((await bytesOf(`${sys}/firmware/dmi/tables/DMI`, TABLE_MOST_BYTES)) ?? Buffer.alloc(0));
}

/** Errors since this boot, by every memory controller that counts. */
async function eccOf(sys: string): Promise<Pick<InventoryReport["memory"], "correctedErrors" | "uncorrectedErrors">> {
  const root = `${sys}/devices/system/edac/mc`;
  const controllers = (await namesIn(root)).filter((name) => /^mc\d+$/.test(name)).slice(0, 64);
  if (controllers.length === 0) return {};
  const sum = async (file: string) => {
    const counts = await Promise.all(controllers.map((name) => textOf(`${root}/${name}/${file}`)));
    return counts.reduce((total, text) => total + (natural(text) ?? 0), 0);
  };
  return { correctedErrors: await sum("ce_count"), uncorrectedErrors: await sum("ue_count") };
}

async function firmwareOf(sys: string, { bios }: Smbios): Promise<InventoryReport["firmware"]> {
  const isUefi = await access(`${sys}/firmware/efi`).then(
    () => true,
    () => false,
  );
  // Four bytes of attributes, then the value.
  const secure = isUefi ? (await bytesOf(`${sys}/${SECURE_BOOT}`, 8))?.[4] : undefined;
  return {
    mode: isUefi ? "uefi" : "bios",
    ...field("secureBoot", secure === undefined ? undefined : secure === 1),
    ...bios,
  };
}

async function bmcOf(signal: AbortSignal): Promise<InventoryReport["bmc"]> {
  await exec(["modprobe", "-qa", "ipmi_si", "ipmi_devintf"], { timeoutMs: 10_000, signal }).catch(() => undefined);
  const ask = (...words: string[]) => exec(["ipmitool", ...words], { timeoutMs: 15_000, signal });
  const lan = parseLanPrint((await ask("lan", "print")).stdout);
  const firmware = parseMcInfo((await ask("mc", "info")).stdout);
  return lan === undefined && firmware === undefined ? undefined : { ...lan, ...field("firmware", firmware) };
}

/** systemd's word; its exit code is 1 on metal. */
async function virtualisationOf(signal: AbortSignal): Promise<string | undefined> {
  const { stdout } = await exec(["systemd-detect-virt", "--vm"], { timeoutMs: 20_000, signal }).catch(() => ({
    stdout: "",
  }));
  return told(stdout, 32);
}

function uuidOf(text: string | undefined): string | undefined {
  const uuid = text?.toLowerCase();
  if (uuid === undefined || !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid)) return undefined;
  return /^[0f-]+$/.test(uuid) ? undefined : uuid;
}

/** What is least missed goes first, until the rest can be sent. Pure. */
export function fitted(report: InventoryReport, mostBytes = REPORT_MOST_BYTES): InventoryReport {
  const fits = (one: InventoryReport) => Buffer.byteLength(JSON.stringify(one)) <= mostBytes;
  if (fits(report)) return report;
  const dimms = report.memory.dimms.map(({ slot, sizeBytes }) => ({ slot, sizeBytes }));
  let left: InventoryReport = {
    ...report,
    memory: { ...report.memory, dimms },
    unread: [...report.unread.slice(0, 14), "details of memory modules: the report would be too long"],
  };
  for (let most = 48; most > 0 && !fits(left); most = Math.floor(most / 2)) {
    const note = `more than ${most} disks, or cards: the report would be too long`;
    left = {
      ...left,
      disks: report.disks.slice(0, most),
      nics: report.nics.slice(0, most),
      unread: [...report.unread.slice(0, 13), "details of memory modules: the report would be too long", note],
    };
  }
  return left;
}

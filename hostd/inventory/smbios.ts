// The SMBIOS table as the kernel gives it (/sys/firmware/dmi/tables/DMI): structures one after the other, each with its strings (DMTF
// DSP0134 6.1). Firmware wrote it, so every length is doubted; what does not fit ends the reading, and what was read stands.
import type { InventoryReport } from "#api/inventory.ts";
import { field, told } from "./text.ts";

const STRUCTURES_MOST = 2_000;
const END_OF_TABLE = 127;

interface Structure {
  type: number;
  /** From the type byte on. */
  body: Buffer;
  strings: readonly string[];
}

export interface Smbios {
  bios: { vendor?: string; version?: string; date?: string };
  system: InventoryReport["system"];
  /** Of the first processor, where the kernel names none. */
  cpuModel?: string;
  correction?: string;
  dimms: InventoryReport["memory"]["dimms"];
  hasBmc: boolean;
}

export function parseSmbios(table: Buffer): Smbios {
  const found: Smbios = { bios: {}, system: {}, dimms: [], hasBmc: false };
  for (const { type, body, strings } of structures(table)) {
    const text = (at: number, most: number) => told(strings[(body[at] ?? 0) - 1], most);
    if (type === 0)
      found.bios = {
        ...field("vendor", text(4, 64)),
        ...field("version", text(5, 64)),
        ...field("date", text(8, 32)),
      };
    else if (type === 1)
      found.system = { ...found.system, ...field("manufacturer", text(4, 64)), ...field("product", text(5, 64)) };
    else if (type === 2)
      found.system = { ...found.system, ...field("board", text(5, 64)), ...field("boardSerial", text(7, 64)) };
    else if (type === 3)
      found.system = { ...found.system, ...field("chassisSerial", text(7, 64)), ...field("assetTag", text(8, 64)) };
    else if (type === 4) {
      const model = text(0x10, 96);
      if (model !== undefined) found.cpuModel ??= model;
    } else if (type === 16 && body[5] === SYSTEM_MEMORY) {
      const correction = CORRECTIONS[body[6] ?? 0];
      if (correction !== undefined) found.correction = correction;
    } else if (type === 17 && found.dimms.length < 64) found.dimms.push(dimmOf(body, text));
    else if (type === 38) found.hasBmc = true;
  }
  return found;
}

const SYSTEM_MEMORY = 3;
const CORRECTIONS: Record<number, string> = {
  3: "none",
  4: "parity",
  5: "single-bit ECC",
  6: "multi-bit ECC",
  7: "CRC",
};
const KINDS: Record<number, string> = {
  15: "SDRAM",
  18: "DDR",
  19: "DDR2",
  20: "DDR2 FB-DIMM",
  24: "DDR3",
  26: "DDR4",
  27: "LPDDR",
  28: "LPDDR2",
  29: "LPDDR3",
  30: "LPDDR4",
  32: "HBM",
  33: "HBM2",
  34: "DDR5",
  35: "LPDDR5",
  36: "HBM3",
};

/** DSP0134 7.18: offsets of structure type 17. */
function dimmOf(body: Buffer, text: (at: number, most: number) => string | undefined) {
  const word = (at: number) => (at + 2 <= body.length ? body.readUInt16LE(at) : 0);
  const speed = word(0x20) || word(0x15);
  return {
    slot: text(0x10, 48) ?? text(0x11, 48) ?? "?",
    sizeBytes: sizeOf(body, word(0x0c)),
    ...field("kind", KINDS[body[0x12] ?? 0]),
    ...field("speedMts", speed === 0 || speed === 0xffff ? undefined : speed),
    ...field("manufacturer", text(0x17, 48)),
    ...field("part", text(0x1a, 48)),
    ...field("serial", text(0x18, 48)),
  };
}

function sizeOf(body: Buffer, size: number): number {
  if (size === 0 || size === 0xffff) return 0;
  if (size === 0x7fff) return body.length >= 0x20 ? (body.readUInt32LE(0x1c) & 0x7fffffff) * 1024 ** 2 : 0;
  return size & 0x8000 ? (size & 0x7fff) * 1024 : size * 1024 ** 2;
}

function* structures(table: Buffer): Generator<Structure> {
  let at = 0;
  for (let n = 0; n < STRUCTURES_MOST && at + 4 <= table.length; n++) {
    const [type, length] = [table[at]!, table[at + 1]!];
    if (length < 4 || at + length > table.length || type === END_OF_TABLE) return;
    const body = table.subarray(at, at + length);
    const strings: string[] = [];
    let from = at + length;
    for (;;) {
      const end = table.indexOf(0, from);
      if (end === -1) return yield { type, body, strings };
      // No strings are two zero bytes; the last string's end is followed by one.
      if (end === from) {
        at = end + (strings.length === 0 ? 2 : 1);
        break;
      }
      strings.push(table.toString("latin1", from, Math.min(end, from + 256)));
      from = end + 1;
    }
    yield { type, body, strings };
  }
}

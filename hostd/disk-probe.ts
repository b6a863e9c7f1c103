// What is on the disks: lsblk, `blkid -p` (the device, not its cache) and the bytes at both ends. What cannot be read counts as
// not empty.
import { open } from "node:fs/promises";
import { ExecError, exec } from "#lib/exec.ts";
import type { Disk } from "./disk.ts";

interface Lsblk {
  name: string;
  path: string;
  type: string;
  size: number;
  ro: boolean;
  rm: boolean;
  tran: string | null;
  serial: string | null;
  wwn: string | null;
  mountpoints: (string | null)[] | null;
  children?: Lsblk[];
}

const END_BYTES = 4 << 20;
const COLUMNS = "NAME,PATH,TYPE,SIZE,RO,RM,TRAN,SERIAL,WWN,MOUNTPOINTS";

export async function readDisks(signal: AbortSignal): Promise<Disk[]> {
  const { stdout } = await exec(["lsblk", "-J", "-b", "-o", COLUMNS], { timeoutMs: 30_000, signal });
  const rows = parseLsblk(stdout).filter(({ type }) => type !== "rom" && type !== "loop");
  return Promise.all(
    rows.map(async (row) => ({ ...row, ...(await readSignature(row.path, signal)), zeroEnds: await hasZeroEnds(row) })),
  );
}

export function parseLsblk(text: string): Omit<Disk, "zeroEnds">[] {
  const { blockdevices } = JSON.parse(text) as { blockdevices: Lsblk[] };
  return blockdevices.map((row) => {
    const below = descendants(row);
    return {
      path: row.path,
      type: row.type,
      sizeBytes: Number(row.size),
      ...(row.serial ? { serial: row.serial.trim() } : {}),
      ...(row.wwn ? { wwn: row.wwn.trim() } : {}),
      readOnly: Boolean(row.ro),
      // A disk on USB is pulled out as easily as one that says so.
      removable: Boolean(row.rm) || row.tran === "usb",
      mounted: [row, ...below].some(({ mountpoints }) => (mountpoints ?? []).some((point) => point !== null)),
      holders: below.map(({ name }) => name),
    };
  });
}

const descendants = (row: Lsblk): Lsblk[] => (row.children ?? []).flatMap((child) => [child, ...descendants(child)]);

/** Exit 2: nothing found. Exit 8: several signatures, which is anything but empty. */
async function readSignature(path: string, signal: AbortSignal): Promise<Pick<Disk, "signature" | "label">> {
  try {
    const { stdout } = await exec(["blkid", "-p", "-o", "export", path], { timeoutMs: 30_000, signal });
    return parseBlkid(stdout);
  } catch (error) {
    const exitCode = error instanceof ExecError ? error.exitCode : undefined;
    if (exitCode === 2) return {};
    return { signature: exitCode === 8 ? "several signatures" : "what blkid could not read" };
  }
}

export function parseBlkid(text: string): Pick<Disk, "signature" | "label"> {
  const fields = new Map(
    text
      .split("\n")
      .filter((line) => line.includes("="))
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
  const signature =
    fields.get("TYPE") ?? fields.get("PTTYPE") ?? (fields.size > 0 ? "an unknown signature" : undefined);
  const label = fields.get("LABEL");
  return { ...(signature === undefined ? {} : { signature }), ...(label === undefined ? {} : { label }) };
}

async function hasZeroEnds({ path, sizeBytes }: Pick<Disk, "path" | "sizeBytes">): Promise<boolean> {
  if (!(sizeBytes > 0)) return false;
  try {
    const device = await open(path, "r");
    try {
      const length = Math.min(END_BYTES, sizeBytes);
      const zero = Buffer.alloc(length);
      for (const position of [0, sizeBytes - length]) {
        const { buffer, bytesRead } = await device.read(Buffer.alloc(length, 1), 0, length, position);
        if (bytesRead !== length || !buffer.equals(zero)) return false;
      }
      return true;
    } finally {
      await device.close();
    }
  } catch {
    return false;
  }
}

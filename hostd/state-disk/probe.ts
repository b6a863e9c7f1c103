// What is on the disks: lsblk, `blkid -p` (the device, not its cache), the mark and the bytes at both ends. What cannot be read
// counts as not empty.
import { createHash } from "node:crypto";
import { open, readdir, realpath } from "node:fs/promises";
import { join } from "node:path";
import { ExecError, exec } from "#lib/exec.ts";
import { readContents } from "../disk-contents/contents.ts";
import type { Disk } from "./disk.ts";
import { decodeMark, isTornMark, MARK_BYTES, type Mark } from "./mark.ts";

interface Lsblk {
  name: string;
  path: string;
  type: string;
  size: number;
  ro: boolean;
  rm: boolean;
  tran: string | null;
  rota?: boolean | null;
  model?: string | null;
  serial: string | null;
  wwn: string | null;
  mountpoints: (string | null)[] | null;
  children?: Lsblk[];
}

type Listed = Omit<Disk, "zeroEnds" | "fingerprint">;

const END_BYTES = 4 << 20;
const PRINTED_BYTES = 1 << 20;
/** /dev/disk/by-path names ports, by-id the disks themselves. */
const LINKS = ["/dev/disk/by-id", "/dev/disk/by-path"];
const COLUMNS = "NAME,PATH,TYPE,SIZE,RO,RM,TRAN,ROTA,MODEL,SERIAL,WWN,MOUNTPOINTS";

/** The marks that we may have been writing on a disk when the power went. */
export type MarksOf = (disk: Pick<Disk, "serial" | "wwn" | "sizeBytes">) => readonly Mark[];

export async function readDisks(marksOf: MarksOf, signal: AbortSignal): Promise<Disk[]> {
  const { stdout } = await exec(["lsblk", "-J", "-b", "-o", COLUMNS], { timeoutMs: 30_000, signal });
  const rows = parseLsblk(stdout).filter(({ type }) => type !== "rom" && type !== "loop");
  const links = await linksOf(LINKS);
  const named = rows.map((row) => ({ ...row, ...(links.has(row.path) ? { links: links.get(row.path)! } : {}) }));
  return Promise.all(named.map((row) => readDisk(row, marksOf(row), signal)));
}

/** By the device: the names that udev gave it. No such folder: no such names. */
export async function linksOf(folders: readonly string[]): Promise<Map<string, string[]>> {
  const links = new Map<string, string[]>();
  for (const folder of folders) {
    const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
      return [];
    });
    for (const name of names.sort()) {
      const link = join(folder, name);
      const device = await realpath(link).catch(() => undefined); // gone meanwhile, or it leads nowhere
      if (device !== undefined) links.set(device, [...(links.get(device) ?? []), link]);
    }
  }
  return links;
}

export async function readDisk(row: Listed, possible: readonly Mark[], signal: AbortSignal): Promise<Disk> {
  const [seen, ends, contents] = await Promise.all([
    readSignature(row.path, signal),
    readEnds(row),
    readContents(row.path, row.sizeBytes),
  ]);
  return { ...row, ...seen, contents, ...judgeEnds(row, ends, possible) };
}

export function parseLsblk(text: string): Listed[] {
  const { blockdevices } = JSON.parse(text) as { blockdevices: Lsblk[] };
  return blockdevices.map((row) => {
    const below = descendants(row);
    return {
      path: row.path,
      type: row.type,
      sizeBytes: Number(row.size),
      ...(row.model ? { model: row.model.trim() } : {}),
      ...(row.serial ? { serial: row.serial.trim() } : {}),
      ...(row.wwn ? { wwn: row.wwn.trim() } : {}),
      ...(row.tran ? { transport: row.tran } : {}),
      ...(typeof row.rota === "boolean" ? { media: row.rota ? ("hdd" as const) : ("ssd" as const) } : {}),
      readOnly: Boolean(row.ro),
      // A disk on USB is pulled out as easily as one that says so.
      removable: Boolean(row.rm) || row.tran === "usb",
      mounted: [row, ...below].some(({ mountpoints }) => (mountpoints ?? []).some((point) => point !== null)),
      holders: below.map(({ name }) => name),
      builtOn: below.filter(({ type }) => type !== "part").map(({ name }) => name),
    };
  });
}

const descendants = (row: Lsblk): Lsblk[] => (row.children ?? []).flatMap((child) => [child, ...descendants(child)]);

/** Exit 2: nothing found. Exit 8: several signatures, which is anything but empty. */
async function readSignature(path: string, signal: AbortSignal): Promise<Pick<Disk, "signature" | "label" | "uuid">> {
  try {
    const { stdout } = await exec(["blkid", "-p", "-o", "export", path], { timeoutMs: 30_000, signal });
    return parseBlkid(stdout);
  } catch (error) {
    const exitCode = error instanceof ExecError ? error.exitCode : undefined;
    if (exitCode === 2) return {};
    return { signature: exitCode === 8 ? "several signatures" : "what blkid could not read" };
  }
}

export function parseBlkid(text: string): Pick<Disk, "signature" | "label" | "uuid"> {
  const fields = new Map(
    text
      .split("\n")
      // Of a partition blkid also says what the table has of it, which is nothing that lies on it.
      .filter((line) => line.includes("=") && !/^(DEVNAME|PART_ENTRY_\w+)=/.test(line))
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
  const signature =
    fields.get("TYPE") ?? fields.get("PTTYPE") ?? (fields.size > 0 ? "an unknown signature" : undefined);
  const [label, uuid] = [fields.get("LABEL"), fields.get("UUID")];
  return {
    ...(signature === undefined ? {} : { signature }),
    ...(label === undefined ? {} : { label }),
    ...(uuid === undefined ? {} : { uuid }),
  };
}

/** First and last 4 MiB, or as much as there is; undefined when they cannot be read. */
async function readEnds({ path, sizeBytes }: Pick<Disk, "path" | "sizeBytes">): Promise<[Buffer, Buffer] | undefined> {
  if (!(sizeBytes > 0)) return undefined;
  try {
    const device = await open(path, "r");
    try {
      const length = Math.min(END_BYTES, sizeBytes);
      const ends = [Buffer.alloc(length), Buffer.alloc(length)] as [Buffer, Buffer];
      for (const [n, position] of [0, sizeBytes - length].entries()) {
        const { bytesRead } = await device.read(ends[n]!, 0, length, position);
        if (bytesRead !== length) return undefined;
      }
      return ends;
    } finally {
      await device.close();
    }
  } catch {
    return undefined;
  }
}

export function judgeEnds(
  disk: Pick<Disk, "model" | "serial" | "wwn" | "sizeBytes">,
  ends: [Buffer, Buffer] | undefined,
  possible: readonly Mark[],
): Pick<Disk, "zeroEnds" | "mark" | "fingerprint"> {
  const { model = "", serial = "", wwn = "", sizeBytes } = disk;
  const print = createHash("sha256").update(JSON.stringify([model, serial, wwn, sizeBytes]));
  if (ends === undefined) return { zeroEnds: false, fingerprint: print.digest("hex") };
  const [head, tail] = ends;
  const found = head.length < MARK_BYTES ? undefined : decodeMark(head);
  const mark = found === "damaged" && isTornMark(head, possible) ? "torn" : found;
  // A state disk's file system changes with each mount; its mark does not.
  const fixed = typeof mark === "object" && mark.state === "ready";
  if (fixed) print.update(head.subarray(0, MARK_BYTES));
  else print.update(head.subarray(0, PRINTED_BYTES)).update(tail.subarray(-PRINTED_BYTES));
  const zero = Buffer.alloc(head.length);
  return {
    zeroEnds: head.equals(zero) && tail.equals(zero),
    ...(mark === undefined ? {} : { mark }),
    fingerprint: print.digest("hex"),
  };
}

// Disks with what is written on them (state-disk/probe.ts reads that) and their own word on their health. A disk that answers nothing
// costs its own time alone.

import type { InventoryReport } from "#api/inventory.ts";
import { ExecError, exec } from "#lib/exec.ts";
import { deadline } from "#lib/time.ts";
import type { Disk } from "../state-disk/disk.ts";
import { parseLsblk, readDisk } from "../state-disk/probe.ts";
import { cut, field, told } from "./text.ts";
import { parseLsblkMore, parseSmart } from "./tools.ts";

type Row = InventoryReport["disks"][number];

const DISKS_MOST = 64;
const ONE_DISK_MS = 30_000;
const SMART_MS = 15_000;
const OUTPUT_MOST = 1 << 20;
/** Memory, network block devices and floppies call themselves disks too. */
const NOT_A_DISK = /^\/dev\/(z?ram|nbd|fd|mtdblock|loop|sr)\d/;
const COLUMNS = "NAME,PATH,TYPE,SIZE,RO,RM,TRAN,MODEL,SERIAL,WWN,MOUNTPOINTS";

export async function readInventoryDisks(signal: AbortSignal): Promise<Row[]> {
  const lsblk = (columns: string) =>
    exec(["lsblk", "-J", "-b", "-o", columns], { timeoutMs: 30_000, signal, maxOutputBytes: OUTPUT_MOST });
  const [listed, more] = await Promise.all([lsblk(COLUMNS), lsblk("PATH,ROTA,TRAN,FSTYPE,LABEL")]);
  const beside = parseLsblkMore(more.stdout);
  const rows = parseLsblk(listed.stdout).filter(({ type, path }) => type === "disk" && !NOT_A_DISK.test(path));
  return Promise.all(
    rows.slice(0, DISKS_MOST).map(async (row) => {
      const { parts = [], ...extra } = beside.get(row.path) ?? {};
      const [seen, smart] = await Promise.all([
        deadline(readDisk(row, [], signal), ONE_DISK_MS, `read ${row.path}`).catch(() => undefined),
        readSmart(row.path, signal),
      ]);
      return {
        path: cut(row.path, 64),
        ...field("model", told(row.model, 96)),
        ...field("serial", told(row.serial, 96)),
        ...field("wwn", told(row.wwn, 96)),
        sizeBytes: row.sizeBytes,
        removable: row.removable,
        ...extra,
        holds: cut(seen === undefined ? "could not be read" : holdsOf(seen, parts), 200),
        ...field("smart", smart),
      };
    }),
  );
}

/** What is on it, for people; without a cluster whose machine this would be. Pure. */
export function holdsOf(
  disk: Pick<Disk, "mark" | "signature" | "label" | "holders" | "zeroEnds">,
  parts: readonly string[],
) {
  const { mark, signature, label, holders, zeroEnds } = disk;
  if (typeof mark === "object")
    return `Flynn state disk of machine ${mark.machineName} of cluster ${mark.cluster.slice(0, 12)}`;
  if (mark !== undefined) return "a damaged mark of Flynn";
  const on = parts.length > 0 ? `: ${parts.join(", ")}` : holders.length > 0 ? `: ${holders.join(", ")}` : "";
  if (signature !== undefined) return `${signature}${label ? ` (label ${label})` : ""}${on}`;
  if (holders.length > 0) return `used by ${holders.join(", ")}`;
  return zeroEnds ? "zeros at both ends" : "bytes other than zero at an end, of no known kind";
}

/** smartctl's exit code is a set of bits, and what it printed stands all the same. */
async function readSmart(path: string, signal: AbortSignal): Promise<Row["smart"]> {
  const argv = ["smartctl", "--json", "--all", path];
  const text = await exec(argv, { timeoutMs: SMART_MS, signal, maxOutputBytes: OUTPUT_MOST }).then(
    ({ stdout }) => stdout,
    (error: unknown) => (error instanceof ExecError ? error.stdout : ""),
  );
  return parseSmart(text);
}

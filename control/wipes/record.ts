// An order to wipe as the store keeps it beside the machine's disks, and the pure rules of its steps.
import { isOver, type MachineOrder } from "#api/machine-orders.ts";
import type { MachineWipe, WipeEvidence, WipeProgress, WipeProof, WipeTask, WipingDisk } from "#api/wipes.ts";
import { plainText } from "../events.ts";
import { keys } from "../keys.ts";
import type { Reader } from "../store/entry.ts";

export const PROOFS_KEPT = 64;

export interface WipeReport {
  fingerprint: string;
  state: WipeProgress;
  step: string;
  percent: number;
  evidence?: WipeEvidence;
}

const isEnded = ({ state }: Pick<WipingDisk, "state">): boolean => state === "done" || state === "failed";

/** After what the host said of one disk; the first end of a disk stands. */
export function afterReport(
  wipe: MachineWipe,
  report: WipeReport,
  order: { by: string; machine: string },
): MachineWipe {
  const disk = wipe.disks.find(({ fingerprint }) => fingerprint === report.fingerprint);
  if (disk === undefined || isEnded(disk) || wipe.orderId === undefined) return wipe;
  // Done is only what was proven.
  const state = report.state === "done" && report.evidence === undefined ? "running" : report.state;
  const next: WipingDisk = { ...disk, state, step: plainText(report.step), percent: report.percent };
  const disks = wipe.disks.map((one) => (one === disk ? next : one));
  if (state !== "done") return { ...wipe, disks };
  const proof = proofOf({ ...wipe, orderId: wipe.orderId }, disk, report.evidence!, order);
  return { ...wipe, disks, proofs: [proof, ...wipe.proofs].slice(0, PROOFS_KEPT) };
}

function proofOf(
  { machineId, orderId, verify = "all" }: MachineWipe & { orderId: string },
  { fingerprint: _, state: __, step: ___, percent: ____, ...disk }: WipingDisk,
  evidence: WipeEvidence,
  { by, machine }: { by: string; machine: string },
): WipeProof {
  const read = evidence.bytesRead;
  const result =
    verify === "all" && read >= disk.sizeBytes
      ? `all ${disk.sizeBytes} bytes read as zero`
      : `${read} of ${disk.sizeBytes} bytes, in samples, read as zero; what lies between was not read`;
  return {
    ...disk,
    ...evidence,
    did: plainText(evidence.did),
    orderId,
    orderedBy: by,
    machineId,
    machine,
    verify,
    result,
  };
}

/** Of all disks together, in hundredths. */
export const percentOf = ({ disks }: MachineWipe): number => {
  const whole = disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const done = disks.reduce((sum, disk) => sum + disk.sizeBytes * (isEnded(disk) ? 100 : disk.percent), 0);
  return whole === 0 ? 0 : Math.floor(done / whole);
};

/** How the order ends, once every disk has. */
export function endOf({ disks, verify }: MachineWipe): { state: "done" | "failed"; reason: string } | undefined {
  if (disks.length === 0 || !disks.every(isEnded)) return undefined;
  const failed = disks.filter(({ state }) => state === "failed");
  const paths = disks.map(({ path }) => path).join(", ");
  if (failed.length === 0)
    return {
      state: "done",
      reason: `${paths}: wiped, and ${verify === "samples" ? "samples" : "every byte"} read back as zero`,
    };
  return {
    state: "failed",
    reason: failed
      .map(({ path, step }) => `${path}: ${step}`)
      .join("; ")
      .slice(0, 400),
  };
}

/** What is still to be wiped; nothing once the order is over. */
export function wipeTasksOf(store: Reader, machineId: string): WipeTask[] {
  const wipe = store.get<MachineWipe>(keys.machineWipe(machineId))?.value;
  if (wipe?.orderId === undefined) return [];
  const order = store.get<MachineOrder>(keys.machineOrder(machineId, wipe.orderId))?.value;
  return order === undefined || isOver(order) ? [] : tasksOf(wipe);
}

export function tasksOf({ orderId, method = "auto", verify = "all", disks }: MachineWipe): WipeTask[] {
  if (orderId === undefined) return [];
  return disks
    .filter((disk) => !isEnded(disk))
    .map(({ fingerprint, path, serial, wwn, sizeBytes, state }) => ({
      ...{ orderId, fingerprint, path, sizeBytes, method, verify, begun: state === "running" },
      ...(serial === undefined ? {} : { serial }),
      ...(wwn === undefined ? {} : { wwn }),
    }));
}

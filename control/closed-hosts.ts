// Hosts that a rollout or an order closes to jobs for a while: at its end they are as they were before, or as a person wished meanwhile.
import type { MachineOrderRecord } from "./machine-orders/record.ts";
import { openOrderOf } from "./machine-orders/record.ts";
import type { HostRecord } from "./records.ts";
import { underWay } from "./rollouts/record.ts";
import type { Reader } from "./store/entry.ts";
import type { Change } from "./store/store.ts";

/** What a person's wish changes of whatever has the host closed just now: its end leaves the host so. */
export function wishKept(
  store: Reader,
  { machineId }: Pick<HostRecord, "machineId">,
  cordoned: boolean,
): { changes: Change[]; expect: { key: string; version: number }[] } {
  if (machineId === undefined) return { changes: [], expect: [] };
  const row = underWay(store, machineId)?.row;
  const order = openOrderOf(store, machineId);
  const closes = order?.value.kind === "reprovision" && order.value.detail?.["drained"] === 1 ? order : undefined;
  const orderAfter = (value: MachineOrderRecord): MachineOrderRecord => ({
    ...value,
    detail: { ...value.detail, cordonedBefore: cordoned ? 1 : 0 },
  });
  return {
    changes: [
      ...(row === undefined ? [] : [{ key: row.key, value: { ...row.value, cordonedBefore: cordoned } }]),
      ...(closes === undefined ? [] : [{ key: closes.key, value: orderAfter(closes.value) }]),
    ],
    expect: [row, closes].flatMap((entry) => (entry === undefined ? [] : { key: entry.key, version: entry.version })),
  };
}

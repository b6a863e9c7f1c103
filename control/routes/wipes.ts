// Wipes as jobs: an order names disks as their host reported them; the host erases, and says how far it is; what it proved is kept.
import type { MachineDisk, MachineDisks } from "#api/disks.ts";
import { Fault } from "#api/fault.ts";
import { isOver as isJobOver } from "#api/jobs.ts";
import { isOver } from "#api/machine-orders.ts";
import * as wipes from "#api/wipes.ts";
import { formatSize } from "#lib/units.ts";
import type { Context } from "../context.ts";
import { plainText, timelineChanges } from "../events.ts";
import { machineCalled } from "../find-machine.ts";
import { keys } from "../keys.ts";
import type { MachineOrders } from "../machine-orders/book.ts";
import type { Mount } from "../mount.ts";
import type { HostRecord, MachineRecord } from "../records.ts";
import type { Change } from "../store/store.ts";
import { afterReport, endOf, percentOf } from "../wipes/record.ts";

/** A machine that was switched off meanwhile has a day to come back and go on. */
const QUIET_MS = 24 * 3_600_000;

export function mountWipes(mount: Mount, { store, now, jobs }: Context, book: MachineOrders): void {
  const find = (text: string) => machineCalled(store, text).value;
  const kept = (machineId: string) => {
    const entry = store.get<wipes.MachineWipe>(keys.machineWipe(machineId));
    return { version: entry?.version ?? 0, value: entry?.value ?? { machineId, disks: [], proofs: [] } };
  };
  const hostOf = (machine: MachineRecord) =>
    machine.hostId === undefined ? undefined : store.get<HostRecord>(keys.host(machine.hostId))?.value;

  mount(wipes.getMachineWipe, ({ params }) => kept(find(params.id).id).value);
  mount(wipes.startMachineWipe, async ({ params, body, principal, idempotent }) => {
    const machine = find(params.id);
    const { method = "auto", verify = "all" } = body;
    const { value, version } = kept(machine.id);
    const known = store.get<MachineDisks>(keys.machineDisks(machine.id))?.value;
    const fingerprints = [...new Set(body.fingerprints)];
    const before = value.orderId === undefined ? undefined : book.get(machine.id, value.orderId);
    const isSame =
      before !== undefined &&
      !isOver(before) &&
      before.orderedBy === principal.name.slice(0, 128) &&
      value.disks.map(({ fingerprint }) => fingerprint).join() === fingerprints.join();
    if (isSame) return before; // given once more by whoever did
    if (known?.order !== undefined)
      throw new Fault(
        "conflict",
        `${known.order.orderedBy} ordered ${known.order.path} of machine ${machine.name} to be wiped and taken at its next boot; take that back first: flynn machine wipe ${machine.name} --cancel`,
      );
    const host = hostOf(machine);
    if (host === undefined)
      throw new Fault(
        "conflict",
        `no host runs on machine ${machine.name}, and it is the host that wipes; boot it first: flynn machine approve ${machine.name}`,
      );
    const disks = fingerprints.map((fingerprint) => wantedDisk(machine, known?.disks ?? [], fingerprint));
    const own = disks.find(({ standing }) => standing === "ours");
    const left = jobs.onHost(host.id).filter((job) => !isJobOver(job)).length;
    if (own !== undefined && (!host.cordoned || left > 0))
      throw new Fault(
        "conflict",
        `${own.path} keeps the state of host ${host.name}${left > 0 ? `, on which ${left} jobs run` : ""}; move its jobs first: flynn host drain ${host.name}`,
      );
    const first = own === undefined ? "" : `; ${own.path} after the machine's next boot`;
    const step = `waits for host ${host.name} to begin with ${disks.map(({ path }) => path).join(", ")}${first}`;
    return book.open({
      ...{ machine, kind: "wipe", actor: principal.name, step: step.slice(0, 400), quietMs: QUIET_MS },
      ...(idempotent ? { idempotent } : {}),
      detail: { disks: disks.length, method, verify },
      // Whose id is the order's is known when it is there; a record without one is no order.
      also: (orderId) => ({
        expect: [{ key: keys.machineWipe(machine.id), version }],
        mutations: [
          {
            key: keys.machineWipe(machine.id),
            value: {
              ...{ machineId: machine.id, orderId, method, verify },
              disks: disks.map(asGivenUp),
              proofs: value.proofs,
            },
          },
        ],
      }),
    });
  });
  // What was not begun is left, and the machine is what it was.
  book.cancelsBy("wipe", ({ machineId }) => readyAgain(store.get<MachineRecord>(keys.machine(machineId))?.value));

  mount(wipes.reportHostWipe, async ({ params, body, principal }) => {
    const machineId = store.get<HostRecord>(keys.host(params.id))?.value.machineId;
    const machine = machineId === undefined ? undefined : store.get<MachineRecord>(keys.machine(machineId))?.value;
    if (machine === undefined) throw new Fault("not-found", `host ${params.id} runs on no machine that is known here`);
    const { value, version } = kept(machine.id);
    const order = book.get(machine.id, body.orderId);
    if (order === undefined || value.orderId !== order.id)
      throw new Fault("not-found", `machine ${machine.name} has no order ${body.orderId} to wipe`);
    const next = afterReport(value, body, { by: order.orderedBy, machine: order.machine });
    const disk = next.disks.find(({ fingerprint }) => fingerprint === body.fingerprint);
    const isNews = disk?.state !== value.disks.find(({ fingerprint }) => fingerprint === body.fingerprint)?.state;
    if (disk !== undefined && isNews) {
      const [proof] = next.proofs;
      const told =
        disk.state === "done" && proof !== undefined
          ? {
              level: "info" as const,
              message: `${disk.path} (${disk.serial ?? "no serial number"}) is wiped: ${proof.did}; ${proof.result}, in ${Math.round(proof.seconds)} s`,
            }
          : disk.state === "failed"
            ? { level: "warning" as const, message: `${disk.path} is not wiped: ${disk.step}` }
            : undefined;
      await store.commit({
        actor: principal.name,
        expect: [{ key: keys.machineWipe(machine.id), version }],
        mutations: [
          { key: keys.machineWipe(machine.id), value: next },
          ...(disk.state === "running" && !isOver(order) ? erasing(machine, disk.path) : []),
          ...(told
            ? timelineChanges(store, now(), machine.id, [{ stage: "wipe", bootId: machine.bootId, ...told }])
            : []),
        ],
      });
    }
    if (isOver(order)) return {};
    const end = endOf(next);
    if (end !== undefined)
      await book.end(order, end, readyAgain(store.get<MachineRecord>(keys.machine(machine.id))?.value));
    else
      await book.step(order, {
        step: body.step,
        percent: percentOf({
          ...next,
          disks: next.disks.map((one) => (one === disk ? { ...one, percent: body.percent } : one)),
        }),
        ...(body.progress === undefined ? {} : { detail: { progress: plainText(body.progress, 200) } }),
      });
    return {};
  });
}

function wantedDisk({ name }: MachineRecord, disks: readonly MachineDisk[], fingerprint: string): MachineDisk {
  const disk = disks.find((one) => one.fingerprint === fingerprint);
  if (disk === undefined)
    throw new Fault(
      "not-found",
      `machine ${name} reported no disk of fingerprint ${fingerprint.slice(0, 12)} last; see flynn machine disks ${name}`,
    );
  if (!disk.canWipe) throw new Fault("conflict", `${disk.path} of machine ${name} ${disk.holds}; it cannot be wiped`);
  return disk;
}

function asGivenUp({
  path,
  model,
  serial,
  wwn,
  sizeBytes,
  fingerprint,
  holds,
  contents = [],
}: MachineDisk): wipes.WipingDisk {
  return {
    ...{ fingerprint, path, sizeBytes, state: "waiting", step: "", percent: 0 },
    ...(model ? { model } : {}),
    ...(serial ? { serial } : {}),
    ...(wwn ? { wwn } : {}),
    held: (contents.length > 0 ? `${formatSize(sizeBytes)}: ${contents.join("; ")}` : holds).slice(0, 300),
  };
}

const erasing = (machine: MachineRecord, path: string): Change[] =>
  machine.state === "ready"
    ? [
        {
          key: keys.machine(machine.id),
          value: { ...machine, state: "erasing", reason: `${path} is wiped, as a person ordered` },
        },
      ]
    : [];

const readyAgain = (machine: MachineRecord | undefined): Change[] =>
  machine?.state === "erasing"
    ? [{ key: keys.machine(machine.id), value: { ...machine, state: "ready", reason: "" } }]
    : [];

// A machine's disks as its host reported them, and the order by which a person gives one up: good for that machine, that disk with
// that content, and one boot. It goes to the machine in its seed; whatever the host then says of it, it is spent.
import type { Profile } from "#api/boot.ts";
import { planDisks } from "#api/disk-plan.ts";
import * as disks from "#api/disks.ts";
import { Fault } from "#api/fault.ts";
import { newId } from "#lib/ids.ts";
import type { Context } from "../context.ts";
import { eventChanges, plainText, timelineChanges } from "../events.ts";
import { machineCalled } from "../find-machine.ts";
import type { Idempotent } from "../http/idempotency-key.ts";
import { keys } from "../keys.ts";
import type { Mount } from "../mount.ts";
import type { HostRecord, MachineRecord } from "../records.ts";

export function mountDisks(mount: Mount, { store, now }: Context): void {
  const find = (text: string) => machineCalled(store, text).value;
  const kept = (machineId: string) => {
    const entry = store.get<disks.MachineDisks>(keys.machineDisks(machineId));
    return { version: entry?.version ?? 0, value: entry?.value ?? { machineId, disks: [] } };
  };
  const change = async (options: {
    machine: MachineRecord;
    value: disks.MachineDisks;
    version: number;
    actor: string;
    message: string;
    idempotent?: Idempotent;
  }): Promise<void> => {
    const { machine, value, version, actor, message, idempotent } = options;
    const key = keys.machineDisks(machine.id);
    await store.commit({
      actor,
      ...idempotent,
      expect: [{ key, version }],
      mutations: [
        { key, value },
        ...timelineChanges(store, now(), machine.id, [{ stage: "note", bootId: machine.bootId, message }]),
        ...eventChanges(store, now(), { type: "machine.disks", subject: machine.id, actor, message }),
      ],
    });
  };

  mount(disks.getMachineDisks, ({ params }) => {
    const machine = find(params.id);
    const { value } = kept(machine.id);
    const policy = store.get<Profile>(keys.profile(machine.profile))?.value.diskPolicy;
    if (policy === undefined || value.seenAt === undefined) return value;
    return { ...value, plan: planDisks(value.disks, policy, value.order) };
  });
  mount(disks.wipeMachineDisk, async ({ params, body, principal, idempotent }) => {
    const machine = find(params.id);
    const { value, version } = kept(machine.id);
    const profile = store.get<Profile>(keys.profile(machine.profile))?.value;
    if (profile?.diskPolicy.mode === "ram")
      throw new Fault(
        "conflict",
        `profile ${machine.profile} of machine ${machine.name} uses no disk; set a policy first: flynn profile set ${machine.profile} --disk find-empty`,
      );
    const { order: before } = value;
    if (before !== undefined) {
      // The order itself, given once more by whoever did.
      if (before.fingerprint === body.fingerprint && before.orderedBy === principal.name.slice(0, 128)) return before;
      throw new Fault(
        "conflict",
        `${before.orderedBy} ordered ${before.path} of machine ${machine.name} to be wiped at ${before.orderedAt}, which is still to be done; take that back first: flynn machine wipe ${machine.name} --cancel`,
      );
    }
    const disk = value.disks.find(({ fingerprint }) => fingerprint === body.fingerprint);
    if (disk === undefined)
      throw new Fault(
        "not-found",
        `machine ${machine.name} reported no disk of fingerprint ${body.fingerprint.slice(0, 12)} at its last boot; see flynn machine wipe ${machine.name}`,
      );
    if (!disk.canWipe)
      throw new Fault("conflict", `${disk.path} of machine ${machine.name} ${disk.holds}; it cannot be wiped`);
    const order: disks.WipeOrder = {
      id: newId("w"),
      fingerprint: disk.fingerprint,
      path: disk.path,
      ...(disk.serial ? { serial: disk.serial } : {}),
      ...(disk.wwn ? { wwn: disk.wwn } : {}),
      sizeBytes: disk.sizeBytes,
      orderedAt: now().toISOString(),
      orderedBy: principal.name.slice(0, 128),
    };
    const message = `${principal.name} gave up ${disk.path} (${disk.holds}): all of it is erased at the next boot`;
    await change({ machine, value: { ...value, order }, version, actor: principal.name, message, idempotent });
    // Repeated with the same key, the first one stands.
    return kept(machine.id).value.order ?? order;
  });
  mount(disks.cancelMachineWipe, async ({ params, principal }) => {
    const machine = find(params.id);
    const { value, version } = kept(machine.id);
    const { order, ...rest } = value;
    if (order === undefined) throw new Fault("not-found", `no disk of machine ${machine.name} is ordered to be wiped`);
    const message = `${principal.name} took back the order to wipe ${order.path}`;
    await change({ machine, value: rest, version, actor: principal.name, message });
    return {};
  });
  mount(disks.reportHostDisks, async ({ params, body, principal }) => {
    const machineId = store.get<HostRecord>(keys.host(params.id))?.value.machineId;
    const machine = machineId === undefined ? undefined : store.get<MachineRecord>(keys.machine(machineId))?.value;
    if (machine === undefined) return {};
    const { value: before, version } = kept(machine.id);
    const { order, last } = before;
    const spent = order !== undefined && body.wipe?.orderId === order.id;
    const outcome = spent ? { ...body.wipe!, reason: plainText(body.wipe!.reason) } : last;
    const value: disks.MachineDisks = {
      machineId: machine.id,
      disks: body.disks.map((disk) => shown(disk)),
      seenAt: now().toISOString(),
      ...(order !== undefined && !spent ? { order } : {}),
      ...(outcome === undefined ? {} : { last: outcome }),
    };
    const key = keys.machineDisks(machine.id);
    await store.commit({
      actor: principal.name,
      expect: [{ key, version }],
      mutations: [
        { key, value },
        ...(spent
          ? eventChanges(store, now(), {
              type: "machine.disks",
              subject: machine.id,
              actor: principal.name,
              message: outcome!.reason,
            })
          : []),
      ],
    });
    return {};
  });
}

/** A host's words as people are shown them. */
const shown = (disk: disks.MachineDisk): disks.MachineDisk => ({
  ...disk,
  holds: plainText(disk.holds),
  path: plainText(disk.path),
  ...(disk.contents ? { contents: disk.contents.map((line) => plainText(line)) } : {}),
  ...(disk.links ? { links: disk.links.map((link) => plainText(link)) } : {}),
});

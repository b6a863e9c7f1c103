// What machines are made of: read by people, reported by boot servers for those that wait and by hosts for themselves.
import { Fault } from "#api/fault.ts";
import * as inventory from "#api/inventory.ts";
import type { Context } from "../context.ts";
import { machineCalled } from "../find-machine.ts";
import { takeHosts, takeWaiting } from "../inventory/take.ts";
import { keys } from "../keys.ts";
import type { Mount } from "../mount.ts";

export function mountInventory(mount: Mount, context: Context): void {
  const { store } = context;
  mount(inventory.getMachineInventory, ({ params }) => {
    const { id, name, approvedAt } = machineCalled(store, params.id).value;
    const kept = store.get<inventory.MachineInventory>(keys.machineInventory(id))?.value;
    if (kept !== undefined) return kept;
    const how =
      approvedAt === undefined
        ? "before approval one comes with `flynn up --unknown-machines inventory`, else from its host at its first boot"
        : "one comes from its host at its next boot";
    throw new Fault("not-found", `machine ${name} has sent no inventory yet; ${how}`);
  });
  mount(inventory.reportMachineInventory, async ({ params, body }) => ({
    machineId: await takeWaiting(context, `boot server ${params.id}`, body),
  }));
  mount(inventory.reportHostInventory, async ({ params, body, principal }) => {
    await takeHosts(context, params.id, principal.name, body.report);
    return {};
  });
}

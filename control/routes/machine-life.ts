// Orders to boot: something else once, or anew.
import * as life from "#api/machine-life.ts";
import type { Context } from "../context.ts";
import { machineCalled } from "../find-machine.ts";
import type { MachineVerbs } from "../machine-life/verbs.ts";
import type { Mount } from "../mount.ts";

export function mountMachineLife(mount: Mount, { store }: Context, verbs: MachineVerbs): void {
  mount(life.bootMachineOnce, ({ params, body, principal, idempotent }) =>
    verbs.bootOnce(machineCalled(store, params.id), body.target, {
      by: principal.name,
      idempotent,
      now: body.now ?? false,
      force: body.force ?? false,
    }),
  );
  mount(life.reprovisionMachine, ({ params, principal, idempotent }) =>
    verbs.reprovision(machineCalled(store, params.id), { by: principal.name, idempotent }),
  );
}

// Orders to machines: what was ordered, how far it is, how it ended.

import { Fault } from "#api/fault.ts";
import * as orders from "#api/machine-orders.ts";
import { isOver, type MachineOrder } from "#api/machine-orders.ts";
import type { Context } from "../context.ts";
import { stateFeed } from "../feed.ts";
import { machineCalled } from "../find-machine.ts";
import { keys } from "../keys.ts";
import type { MachineOrders } from "../machine-orders/book.ts";
import type { Mount } from "../mount.ts";
import { page } from "../paging.ts";

export function mountMachineOrders(mount: Mount, { store }: Context, book: MachineOrders): void {
  const find = (text: string) => machineCalled(store, text).value;
  const order = (id: string, orderId: string): MachineOrder => {
    const machine = find(id);
    const found = book.get(machine.id, orderId);
    if (found === undefined) throw new Fault("not-found", `machine ${machine.name} has no order ${orderId}`);
    return found;
  };
  mount(orders.listMachineOrders, ({ params, query }) => {
    const all = book.of(find(params.id).id).map((value) => ({ key: `${value.orderedAt} ${value.id}`, value }));
    return page(all, query, ({ value }) => value, { falling: true });
  });
  mount(
    orders.getMachineOrder,
    ({ params }) => order(params.id, params.order),
    ({ params, signal }) => {
      const { machineId, id } = order(params.id, params.order);
      return stateFeed<MachineOrder>({
        subscribe: (wake) =>
          store.onDurable((record) => {
            if (record.mutations.some(({ key }) => key === keys.machineOrder(machineId, id))) wake();
          }),
        build: () => order(machineId, id),
        id: () => String(store.durableSeq),
        last: isOver,
        signal,
      });
    },
  );
  mount(orders.cancelMachineOrder, ({ params, principal }) =>
    book.cancel(find(params.id), params.order, principal.name),
  );
}

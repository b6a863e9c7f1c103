// machine orders: what a machine was ordered to do, how far it is and how it ended; one can be watched, or taken back.
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import {
  cancelMachineOrder,
  getMachineOrder,
  isOver,
  listMachineOrders,
  type MachineOrder,
} from "#api/machine-orders.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { followOrder, orderWords } from "../machines/follow-order.ts";
import { age, answer, answerList } from "../output/answer.ts";
import type { Command, Invocation } from "../parse/command.ts";

export const machineOrdersCommand: Command = {
  words: "machine orders",
  summary: "What a machine was ordered to do; with ORDER, watch that one to its end",
  args: [{ name: "MACHINE", required: true, offers: "machines" }, { name: "ORDER" }],
  flags: [{ name: "cancel", help: "Take ORDER back, or the one that is open" }],
  run: (call) =>
    withCluster(call, async (client) => {
      const { cli, args } = call;
      const [id, order] = args as [string, string | undefined];
      if (call.on("cancel")) {
        const taken = await takeBack(call, client, id, order);
        return answer(cli, taken, () => cli.print(`${taken.machine}: order ${taken.id} is ${taken.state}`));
      }
      if (order !== undefined) {
        const found = await client.call(getMachineOrder, { params: { id, order }, signal: cli.signal });
        const ended = isOver(found) ? found : await followOrder(cli, client, found);
        return answer(cli, ended, () => cli.print(`${orderWords(ended)} (${ended.state})`));
      }
      return answerList(cli, await listAll(client, listMachineOrders, { params: { id }, signal: cli.signal }), {
        titles: ["ID", "ORDER", "STATE", "BY", "ORDERED", "STEP OR END"],
        row: (one) => [
          one.id,
          one.kind,
          one.percent === undefined || isOver(one) ? one.state : `${one.state}, ${one.percent} %`,
          one.orderedBy,
          `${age(one.orderedAt)} ago`,
          one.reason === "" ? one.step : one.reason,
        ],
        none: `nothing was ordered of ${id}`,
      });
    }),
};

async function takeBack(call: Invocation, client: Client, id: string, order?: string): Promise<MachineOrder> {
  const { signal } = call.cli;
  const named =
    order ?? (await listAll(client, listMachineOrders, { params: { id }, signal })).find((one) => !isOver(one))?.id;
  if (named === undefined) throw new Fault("not-found", `machine ${id} has no order that is open`);
  return client.call(cancelMachineOrder, { params: { id, order: named }, body: {}, signal });
}

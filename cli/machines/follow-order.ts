// Watching an order to a machine to its end.
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { getMachineOrder, isOver, type MachineOrder } from "#api/machine-orders.ts";
import { followToEnd } from "../output/follow-to-end.ts";
import type { Cli } from "../parse/command.ts";

const AWAY_MOST_MS = 5 * 60_000;

/** Says each step in plain words; resolves with the order when it is done, else throws with the reason. */
export function followOrder(cli: Cli, client: Client, { id, machineId, machine }: MachineOrder): Promise<MachineOrder> {
  const params = { id: machineId, order: id };
  return followToEnd<MachineOrder, MachineOrder>({
    cli,
    awayMostMs: AWAY_MOST_MS,
    goesOn: `the order goes on there: flynn machine orders ${machine} ${id}`,
    stream: (how) => client.follow(getMachineOrder, { params, ...how }),
    each(order, shown) {
      if (!isOver(order)) return void shown.step(`${machine}: ${order.step}${percentOf(order)}`);
      if (order.state === "done") return order;
      throw new Fault(order.state === "cancelled" ? "conflict" : "unavailable", `${machine}: ${order.reason}`);
    },
  });
}

const percentOf = ({ percent, detail }: MachineOrder): string => {
  const far = [percent === undefined ? "" : `${percent} %`, detail?.["progress"] ?? ""].filter((word) => word !== "");
  return far.length === 0 ? "" : ` (${far.join(", ")})`;
};

/** What an order that is done answers to people. */
export const orderWords = ({ machine, reason, step }: MachineOrder): string =>
  `${machine}: ${reason === "" ? step : reason}`;

// Watching an order to a machine to its end. It lives on the server: a client that goes away changes nothing.
import type { Client } from "#api/client.ts";
import { Fault, isFault } from "#api/fault.ts";
import { getMachineOrder, isOver, type MachineOrder } from "#api/machine-orders.ts";
import { progress } from "../output/progress.ts";
import type { Cli } from "../parse/command.ts";

/** Control may be restarted under an order: so long it may be away. */
const AWAY_MOST_MS = 5 * 60_000;

/** Says each step in plain words; resolves with the order when it is done, else throws with the reason. */
export async function followOrder(cli: Cli, client: Client, order: MachineOrder): Promise<MachineOrder> {
  const { id, machineId, machine } = order;
  const shown = progress(cli);
  const stop = new AbortController();
  const signal = AbortSignal.any([cli.signal, stop.signal]);
  const goesOn = `the order goes on there: flynn machine orders ${machine} ${id}`;
  let brokeMs: number | undefined;
  const onBreak = (error: unknown) => {
    if (isFault(error) && !error.retry && error.code !== "gone") throw error;
    brokeMs ??= performance.now();
    if (performance.now() - brokeMs > AWAY_MOST_MS)
      throw new Fault("unavailable", `the cluster went away; ${goesOn}`, { cause: error });
    shown.step("the cluster does not answer; trying again");
  };
  try {
    const params = { id: machineId, order: id };
    for await (const { event, data } of client.follow(getMachineOrder, { params, signal, onBreak })) {
      if (event !== "item" || data === undefined) continue;
      brokeMs = undefined;
      if (!isOver(data)) shown.step(`${machine}: ${data.step}${percentOf(data)}`);
      else if (data.state === "done") return data;
      else throw new Fault(data.state === "cancelled" ? "conflict" : "unavailable", `${machine}: ${data.reason}`);
    }
    throw new Fault("unavailable", goesOn);
  } finally {
    shown.end();
    stop.abort();
  }
}

const percentOf = ({ percent, detail }: MachineOrder): string => {
  const far = [percent === undefined ? "" : `${percent} %`, detail?.["progress"] ?? ""].filter((word) => word !== "");
  return far.length === 0 ? "" : ` (${far.join(", ")})`;
};

/** What an order that is done answers to people. */
export const orderWords = ({ machine, reason, step }: MachineOrder): string =>
  `${machine}: ${reason === "" ? step : reason}`;

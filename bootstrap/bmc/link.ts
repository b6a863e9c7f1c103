// Follows what control wants of BMCs, and tells it what came of it. Nothing is kept of it on a disk: while control is away, what was begun
// goes on and nothing new begins.
import { Ajv } from "ajv";
import { answerBmcAsk, BmcWork, bmcWork, reportOrder, serveConsole } from "#api/bmc-work.ts";
import type { Client } from "#api/client.ts";
import { isFault } from "#api/fault.ts";
import { pruneUnknown } from "#api/prune.ts";
import type { Log } from "#lib/log.ts";
import { joined } from "#lib/time.ts";
import type { ControlSide } from "./control-side.ts";
import type { BmcWorker } from "./worker.ts";

/** Nobody can take back an order while control is away: then it is not asked. */
const AGREES_MS = 5_000;
const isWork = new Ajv({ strict: false, validateSchema: false }).compile<BmcWork>(BmcWork);

export async function followBmcWork(options: {
  client: Client;
  id: string;
  worker: Pick<BmcWorker, "setWork">;
  log: Log;
  signal: AbortSignal;
}): Promise<void> {
  const { client, id, worker, log, signal } = options;
  const side: ControlSide = {
    async report(order, body, ended) {
      await client.call(reportOrder, { params: { id, order }, body, signal: ended }).catch((error: unknown) => {
        if (!isFault(error, "not-found") && !isFault(error, "invalid")) throw error;
        log.warn({ err: error, order }, "control does not take a step of an order, it is dropped");
      });
    },
    async begins(order, body, ended) {
      const limit = joined(ended, AbortSignal.timeout(AGREES_MS));
      try {
        const begins = { ...body, begins: true };
        await client.call(reportOrder, { params: { id, order }, body: begins, signal: limit.signal });
      } catch (error) {
        ended.throwIfAborted();
        if (isFault(error, "conflict")) return false;
        log.warn({ err: error, order }, "control is away, an order that was begun goes on");
      } finally {
        limit.release();
      }
      return true;
    },
    async answer(ask, body, ended) {
      await client.call(answerBmcAsk, { params: { id, ask }, body, signal: ended });
    },
    dial: ({ session, ticket }, ended) => client.connect(serveConsole, { params: { session }, ticket, signal: ended }),
  };
  const onBreak = (error: unknown) => log.warn({ err: error }, "control is away, no new order comes");
  for await (const { event, data } of client.follow(bmcWork, { params: { id }, signal, onBreak })) {
    if (event !== "item") continue;
    pruneUnknown(BmcWork, data);
    if (isWork(data)) worker.setWork(data, side);
    else log.error({ problem: isWork.errors?.[0]?.message }, "orders not understood, none of them is begun");
  }
}

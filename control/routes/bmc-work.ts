// The boot server's side of power: what it is to do with BMCs, and what came of it.
import * as api from "#api/bmc-work.ts";
import type { Context } from "../context.ts";
import { stateFeed } from "../feed.ts";
import { PREFIX } from "../keys.ts";
import type { Mount } from "../mount.ts";
import type { Power } from "../power/power.ts";

const FED_BY = [PREFIX.machineOrders, PREFIX.machineBmcs];

export function mountBmcWork(mount: Mount, { store }: Context, power: Power): void {
  mount(
    api.bmcWork,
    ({ params }) => power.work(params.id),
    ({ signal, params }) =>
      stateFeed({
        subscribe: (wake) => {
          const left = power.follows(params.id, wake);
          const stop = store.onDurable((record) => {
            if (record.mutations.some(({ key }) => FED_BY.some((prefix) => key.startsWith(prefix)))) wake();
          });
          return () => {
            stop();
            left();
          };
        },
        build: () => power.work(params.id),
        id: () => String(store.durableSeq),
        signal,
      }),
  );
  mount(api.reportOrder, async ({ params, body }) => {
    await power.report(params.id, params.order, body);
    return {};
  });
  mount(api.answerBmcAsk, ({ params, body }) => {
    power.answer(params.id, params.ask, body);
    return {};
  });
}

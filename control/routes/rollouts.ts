// Rollouts: begin one, watch it, let it stand still, call it off.
import * as rollouts from "#api/rollouts.ts";
import type { Context } from "../context.ts";
import { stateFeed } from "../feed.ts";
import { keys } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { page } from "../paging.ts";
import type { Rollouts } from "../rollouts/rollouts.ts";

export function mountRollouts(mount: Mount, { store }: Context, book: Rollouts): void {
  mount(rollouts.rolloutBootImage, ({ params, body, principal }) =>
    book.start(params.id, { ...body, by: principal.name }),
  );
  mount(rollouts.listRollouts, ({ query }) => {
    const all = book.list().map((value) => ({ key: `${value.createdAt} ${value.id}`, value }));
    return page(all, query, ({ value }) => value, { falling: true });
  });
  mount(
    rollouts.getRollout,
    ({ params }) => book.get(params.id),
    ({ params, signal }) => {
      const { id } = book.get(params.id);
      const own = [keys.rollout(id), keys.rolloutMachinesOf(id)];
      return stateFeed<rollouts.Rollout>({
        subscribe: (wake) =>
          store.onDurable(({ mutations }) => {
            if (mutations.some(({ key }) => own.some((prefix) => key.startsWith(prefix)))) wake();
          }),
        build: () => book.get(id),
        id: () => String(store.durableSeq),
        last: rollouts.hasEnded,
        signal,
        coalesceMs: 100,
      });
    },
  );
  mount(rollouts.pauseRollout, ({ params, principal }) => book.pause(params.id, principal.name));
  mount(rollouts.resumeRollout, ({ params, principal }) => book.resume(params.id, principal.name));
  mount(rollouts.cancelRollout, ({ params, principal }) => book.cancel(params.id, principal.name));
}

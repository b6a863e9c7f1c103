// The routers' side of the contract: their target and their acknowledgements.
import { Fault } from "#api/fault.ts";
import { reportRouter, routerTarget } from "#api/routes.ts";
import type { Context } from "../context.ts";
import { stateFeed } from "../feed.ts";
import type { Mount } from "../mount.ts";
import type { Routing } from "../targets/generation.ts";

export function mountRouters(mount: Mount, { store, presence }: Context, routing: Routing): void {
  mount(
    routerTarget,
    () => routing.current(),
    ({ signal }) =>
      stateFeed({
        subscribe: (wake) => routing.onChange(wake),
        build: () => routing.current(),
        sameness: ({ generation, term }) => `${term} ${generation}`,
        id: ({ generation }) => String(generation),
        signal,
      }),
  );
  mount(reportRouter, ({ params, body }) => {
    if (body.term > store.term)
      throw new Fault(
        "conflict",
        `router has seen term ${body.term}, this control is at ${store.term}: it is an old one`,
      );
    presence.routerSeen(params.id, body);
    return { term: store.term };
  });
}

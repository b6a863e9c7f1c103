// The routers' side of the contract: their target and their acknowledgements.
import { Fault } from "#api/fault.ts";
import { deleteRouter, reportRouter, routerTarget } from "#api/routes.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import { stateFeed } from "../feed.ts";
import { keys } from "../keys.ts";
import type { Mount } from "../mount.ts";
import type { MemberRecord } from "../records.ts";
import type { Routing } from "../targets/generation.ts";

export function mountRouters(mount: Mount, { store, presence, now }: Context, routing: Routing): void {
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
  mount(deleteRouter, async ({ params, principal, ifMatch }) => {
    const entry = store.get<MemberRecord>(keys.router(params.id));
    if (entry === undefined) throw new Fault("not-found", `no router ${params.id}`);
    const { key, version, value } = entry;
    await store.commit({
      actor: principal.name,
      expect: [{ key, version: ifMatch ?? version }],
      mutations: [
        { key, value: null },
        ...eventChanges(store, now(), {
          type: "router.removed",
          subject: params.id,
          actor: principal.name,
          message: `router ${value.name} was removed`,
        }),
      ],
    });
    presence.forget(params.id);
    return {};
  });
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

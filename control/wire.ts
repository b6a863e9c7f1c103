// Puts control together from its opened state: the routes on the API, and the loops that act. main opens and listens, tests
// do the same over a store of their own; both get this wiring.
import type { FastifyInstance } from "fastify";
import type { Endpoint } from "#api/endpoint.ts";
import { apiServer, type TlsIdentity } from "./api-server.ts";
import type { Context } from "./context.ts";
import { lasting } from "./disk/writing.ts";
import { createActors } from "./wiring/actors.ts";
import { mountAppApi } from "./wiring/app-routes.ts";
import { mountCluster } from "./wiring/cluster-routes.ts";
import { type ControlParts, createContext } from "./wiring/context.ts";
import { follow } from "./wiring/followers.ts";
import { loopsOf } from "./wiring/loops.ts";
import { createViews } from "./wiring/views.ts";

export interface Control {
  app: FastifyInstance;
  mounted: readonly Endpoint[];
  context: Context;
  /** A new certificate for the API and for calls to hosts; nothing under way is interrupted. */
  useIdentity(identity: TlsIdentity): void;
  /** Runs every loop until the signal aborts; throws what ended one of them. Closing the API is the caller's. */
  run(signal: AbortSignal): Promise<void>;
  /** Ends the API and every open stream. The store is the caller's. */
  close(): Promise<void>;
}

export function wireControl(parts: ControlParts): Control {
  const { store, log, identity, images, docker } = parts;
  const context = createContext(parts);
  const views = createViews(context, parts);
  const actors = createActors(context, parts, views);
  // Whoever follows the store does so before anybody can change it: the API answers before the loops run.
  const stopFollowing = follow(store, [...views.followers, ...actors.followers]);
  const api = apiServer(context, identity);
  mountCluster(api, { context, views, actors, images });
  mountAppApi(api, { context, actors, docker });
  const loops = loopsOf(context, parts, actors);

  return {
    app: api.app,
    mounted: api.mounted,
    context,
    useIdentity(next) {
      api.useIdentity(next);
      actors.useIdentity(next);
    },
    async run(signal) {
      const failed = new AbortController();
      const both = AbortSignal.any([signal, failed.signal]);
      await Promise.all(
        Object.entries(loops).map(([name, loop]) => {
          const outlives = (until: AbortSignal) => lasting(() => loop(until), { store, log, signal: until });
          return actors.kept.keep(name, outlives, both).catch((error: unknown) => failed.abort(error));
        }),
      );
      if (failed.signal.aborted) throw failed.signal.reason;
    },
    async close() {
      await actors.git.close(); // who waits for a build is answered before the connections end
      await api.app.close();
      stopFollowing();
      actors.hosts.close();
      context.presence.close();
      await context.ownLog.close();
    },
  };
}

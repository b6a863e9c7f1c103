// What is worked out from durable records alone, and decides nothing: the same on every node that has them.
import type { Event } from "#api/status.ts";
import { causeChain } from "#lib/run.ts";
import type { Context } from "../context.ts";
import { hostChanges } from "../host-changes.ts";
import { hostInputs } from "../host-inputs.ts";
import { takeIn } from "../indexes.ts";
import { keys } from "../keys.ts";
import { eventLines, lostLines } from "../logs/event-lines.ts";
import { certificateOwner } from "../routing/certificates.ts";
import { portRange } from "../routing/claims.ts";
import type { LogRecord } from "../store/log.ts";
import { routing } from "../targets/generation.ts";
import { hostFeeds } from "../targets/host-feeds.ts";
import { liveRouters } from "../targets/live-routers.ts";
import { routed } from "../targets/routed.ts";
import { type ControlParts, monotonicMs } from "./context.ts";
import type { Follower } from "./followers.ts";

export function createViews(context: Context, { routerAliveMs }: Pick<ControlParts, "routerAliveMs">) {
  const { store, log, jobs, reaches, config, controlUrls, secrets } = context;
  const feeds = hostFeeds(context, hostInputs(context));
  const changes = hostChanges();
  const openKey = (sealed: string, id: string) => {
    try {
      return secrets.open(sealed, certificateOwner(id));
    } catch (error) {
      log.error({ err: error, certificate: id }, "a certificate's key cannot be opened, it is left out");
      return undefined;
    }
  };
  const routes = routing(store, { openKey, controlUrls, tcpPorts: portRange(config.tcpPorts) });
  // Before anybody asks, and in short turns.
  routes.settled().catch((error: unknown) => log.error({ causes: causeChain(error) }, "routes not worked out yet"));
  const routers = liveRouters(context, { monotonicMs, aliveMs: routerAliveMs });
  const served = routed({
    store,
    monotonicMs,
    pool: (id) => routes.pool(id),
    generation: () => routes.current().generation,
    generationOf: routes.generationOf,
    drainTimeoutMs: config.drainTimeoutMs,
    routers: routers.now,
  });
  const followers: Follower[] = [
    { name: "indexes", take: takeIn({ jobs, hostChanges: changes, feeds, reach: reaches }, log) },
    { name: "lines of apps", take: appLines(context) },
    { name: "routes", take: routes.apply, reads: ["indexes"] },
    { name: "what routers serve", take: served.apply, reads: ["routes"] },
  ];
  return { feeds, changes, routes, routers, served, followers };
}

export type Views = ReturnType<typeof createViews>;

/** What records say in apps' logs. */
function appLines({ store, ownLog }: Pick<Context, "store" | "ownLog">): (record: LogRecord) => void {
  const lost = new Set<string>();
  const appIdOf = ({ subject, app }: Event) =>
    store.get(keys.app(subject)) === undefined ? store.get<string>(keys.appName(app ?? ""))?.value : subject;
  return (record) => {
    for (const line of [...eventLines(record, appIdOf), ...lostLines(record, lost)]) ownLog.write(line);
  };
}

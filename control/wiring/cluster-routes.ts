// The API of the cluster itself: machines, hosts, routers, who may do what, and how the whole stands.
import type { ApiServer } from "../api-server.ts";
import type { Context } from "../context.ts";
import { diskPart } from "../disk/floor.ts";
import { hostFrames } from "../host-frames.ts";
import { hostsEnforcing, networkPart } from "../network/enforcement.ts";
import type { Registry } from "../registry.ts";
import { mountQuarantine } from "../restored.ts";
import { mountAlerts } from "../routes/alerts.ts";
import { mountBoot } from "../routes/boot.ts";
import { mountDisks } from "../routes/disks.ts";
import { mountHosts } from "../routes/hosts.ts";
import { mountInventory } from "../routes/inventory.ts";
import { mountKeys } from "../routes/keys.ts";
import { mountLogDrains } from "../routes/log-drains.ts";
import { mountMachineOrders } from "../routes/machine-orders.ts";
import { mountMachines } from "../routes/machines.ts";
import { mountNetwork } from "../routes/network.ts";
import { mountRouters } from "../routes/routers.ts";
import { mountStack } from "../routes/stack.ts";
import { mountStatus } from "../routes/status.ts";
import { mountTokens } from "../routes/tokens.ts";
import { mountWipes } from "../routes/wipes.ts";
import { loopParts, registryPart, schedulerPart } from "../status-parts.ts";
import type { Actors } from "./actors.ts";
import { monotonicMs } from "./context.ts";
import type { Views } from "./views.ts";

interface Wired {
  context: Context;
  views: Views;
  actors: Actors;
  images: Registry;
}

export function mountCluster({ mount, answerBeats }: ApiServer, { context, views, actors, images }: Wired): void {
  const { store, room, reaches, registry } = context;
  const { alerts, scheduler, hostLoop, kept, git, tokens, logDrains, orders } = actors;
  const { feeds, changes, routes } = views;
  mountAlerts(mount, alerts);
  mountQuarantine(mount, { store, now: context.now });
  mountStatus(mount, context, {
    alerts,
    monotonicMs,
    more: async () => [
      diskPart(await room.state()),
      registryPart(registry, await images.problem()),
      schedulerPart(hostLoop.brake(), scheduler.status()),
      ...loopParts(kept.failing()),
      networkPart(reaches.cluster(), hostsEnforcing(context)),
    ],
  });
  mountMachines(mount, context);
  mountMachineOrders(mount, context, orders);
  mountDisks(mount, context);
  mountInventory(mount, context);
  mountWipes(mount, context, orders);
  mountBoot(mount, context, actors.switching);
  mountHosts(mount, context, { feeds, frames: hostFrames(context, changes), answerBeats, isFree: scheduler.isFree });
  mountRouters(mount, context, routes);
  mountKeys(mount, git.keys);
  mountTokens(mount, tokens);
  mountStack(mount, context, images);
  mountLogDrains(mount, context, logDrains);
  mountNetwork(mount, context);
}

// What the doctor knows beside a machine's timeline: its host, its order, who else shows its UUID, and whether a boot server is there.
import { sameUuid } from "#api/machine-identity.ts";
import type { MachineOrder } from "#api/machine-orders.ts";
import type { Context } from "../context.ts";
import { keys, PREFIX } from "../keys.ts";
import type { HostRecord, MachineRecord } from "../records.ts";
import type { Circumstances } from "./boot.ts";

export function circumstancesOf({ store, now, presence }: Context, machine: MachineRecord): Circumstances {
  const { hostId } = machine;
  const host = hostId === undefined ? undefined : store.get<HostRecord>(keys.host(hostId))?.value;
  const { uuid } = machine.claimed ?? machine.identity;
  const orders = store.list<MachineOrder>(keys.machineOrdersOf(machine.id)).map(({ value }) => value);
  return {
    now: now(),
    bootServers: presence.bootServersThere(),
    hostSeenAt: hostId === undefined ? undefined : presence.hosts.get(hostId)?.at,
    engineReason: host?.state === "unhealthy" ? host.reason || "it gives no reason" : undefined,
    agentRefusal: hostId === undefined ? undefined : presence.members.get(hostId)?.refusal,
    order: orders.find(({ state }) => state === "running" || state === "waiting") ?? orders.at(-1),
    sameUuid:
      uuid === undefined
        ? []
        : store
            .list<MachineRecord>(PREFIX.machines)
            .filter(({ value }) => value.id !== machine.id && value.identity.uuid !== undefined)
            .filter(({ value }) => sameUuid(value.identity.uuid!, uuid))
            .map(({ value }) => value.name),
  };
}

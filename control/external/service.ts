// Services outside of the cluster as they are stored, and which addresses may be one. Pure but for reading the store.
import { Fault } from "#api/fault.ts";
import { isWithin, rangesOf } from "#lib/address-ranges.ts";
import { keys, PREFIX } from "../keys.ts";
import type { NetworkRuleRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Store } from "../store/store.ts";

export interface ExternalServiceRecord {
  /** Names no job; network rules hold it, so that another of the same name is not reached by old rules. */
  id: string;
  name: string;
  address: string;
  port: number;
  description?: string;
  createdAt: string;
}

const SERVICES_MOST = 1_000;

export function findExternal(store: Store, name: string): Entry<ExternalServiceRecord> {
  const entry = store.get<ExternalServiceRecord>(keys.externalService(name));
  if (entry === undefined)
    throw new Fault("not-found", `no external service ${name}; see them with: flynn service list`);
  return entry;
}

/** By its id, which rules hold. */
export const externalById = (store: Pick<Store, "list">, id: string): ExternalServiceRecord | undefined =>
  store.list<ExternalServiceRecord>(PREFIX.externalServices).find(({ value }) => value.id === id)?.value;

/** Fault `no-capacity` when there are too many. */
export function checkRoomForExternal(store: Pick<Store, "count">): void {
  if (store.count(PREFIX.externalServices) >= SERVICES_MOST)
    throw new Fault(
      "no-capacity",
      `there are ${SERVICES_MOST} external services already; remove some: flynn service remove NAME`,
    );
}

/**
 * Fault `invalid` for an address that is on this machine, on a link or nobody's, and for those of the platform: `closed` ranges are
 * reached by no app under any rule.
 */
export function checkExternalAddress(address: string, closed: readonly string[]): void {
  const refuse = (why: string) => {
    throw new Fault(
      "invalid",
      `${address} ${why}; give the address of a machine outside of the cluster, such as 10.20.0.5`,
      {
        details: { field: "address" },
      },
    );
  };
  if (isWithin(rangesOf("nowhere", "loopback", "metadata"), address))
    refuse("is an address of the machine itself or of a link");
  if (isWithin(closed, address)) refuse("belongs to the platform, its boot network or its jobs");
}

/** Rules that let apps reach it. */
export const rulesToExternal = (store: Pick<Store, "list">, id: string): NetworkRuleRecord[] =>
  store
    .list<NetworkRuleRecord>(PREFIX.networkRules)
    .flatMap(({ value }) => (value.to.kind === "service" && value.to.id === id ? [value] : []));

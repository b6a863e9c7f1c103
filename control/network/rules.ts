// Rules that open one app to another: as records, and as an index of who reaches whom. They hold ids, so a renamed app keeps its
// rules; a deleted one takes them along.
import type { App } from "#api/apps.ts";
import { Fault } from "#api/fault.ts";
import type { NetworkParty, NetworkRule } from "#api/network.ts";
import { externalById } from "../external/service.ts";
import { keys, PREFIX } from "../keys.ts";
import type { NetworkRuleRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Change, Store } from "../store/store.ts";

const RULES_MOST = 10_000;

export function findRule(store: Store, id: string): Entry<NetworkRuleRecord> {
  const entry = store.get<NetworkRuleRecord>(keys.networkRule(id));
  if (entry === undefined) throw new Fault("not-found", `no network rule ${id}`);
  return entry;
}

export function ruleOfPair(store: Store, fromId: string, toId: string): Entry<NetworkRuleRecord> | undefined {
  const id = store.get<string>(keys.networkPair(fromId, toId))?.value;
  return id === undefined ? undefined : store.get<NetworkRuleRecord>(keys.networkRule(id));
}

export function ruleChanges(store: Store, rule: NetworkRuleRecord): Change[] {
  if (store.count(PREFIX.networkRules) >= RULES_MOST)
    throw new Fault(
      "no-capacity",
      `there are ${RULES_MOST} network rules already; remove some (flynn network list), or run the cluster with --app-network cluster`,
    );
  return [
    { key: keys.networkRule(rule.id), value: rule },
    { key: keys.networkPair(rule.from.id, rule.to.id), value: rule.id },
  ];
}

export const ruleEnd = ({ id, from, to }: NetworkRuleRecord): Change[] => [
  { key: keys.networkRule(id), value: null },
  { key: keys.networkPair(from.id, to.id), value: null },
];

/** The changes that end every rule from or to the app. */
export const rulesEndOf = (store: Store, appId: string): Change[] =>
  store
    .list<NetworkRuleRecord>(PREFIX.networkRules)
    .flatMap(({ value }) => (value.from.id === appId || value.to.id === appId ? ruleEnd(value) : []));

export function shownRule(store: Store, { value, version }: Entry<NetworkRuleRecord>): NetworkRule {
  const { id, from, to, createdAt, createdBy } = value;
  return { id, from: party(store, from), to: party(store, to), version, createdAt, createdBy };
}

function party(store: Store, { kind, id }: NetworkRuleRecord["to"]): NetworkParty {
  const found = kind === "service" ? externalById(store, id) : store.get<App>(keys.app(id))?.value;
  return { kind, id, name: found?.name ?? "deleted" };
}

/** Who reaches whom by a rule, in both directions. */
export interface RuleIndex {
  reachableFrom(appId: string): Iterable<string>;
  reaching(appId: string): Iterable<string>;
  /** Ids of external services that the app may reach. */
  outside(appId: string): Iterable<string>;
  /** Apps that may reach the external service. */
  reachingOutside(serviceId: string): Iterable<string>;
  /** `undefined`: the rule ended. Returns the apps that the change is about. */
  put(id: string, rule: NetworkRuleRecord | undefined): string[];
}

const NONE: ReadonlySet<string> = new Set();

export function ruleIndex(store: Store): RuleIndex {
  const byId = new Map<string, NetworkRuleRecord>();
  const to = new Map<string, Set<string>>();
  const from = new Map<string, Set<string>>();
  const outside = new Map<string, Set<string>>();
  const fromOutside = new Map<string, Set<string>>();
  const pairOf = ({ to: { kind } }: NetworkRuleRecord) =>
    kind === "service" ? { forward: outside, back: fromOutside } : { forward: to, back: from };
  const index: RuleIndex = {
    reachableFrom: (appId) => to.get(appId) ?? NONE,
    reaching: (appId) => from.get(appId) ?? NONE,
    outside: (appId) => outside.get(appId) ?? NONE,
    reachingOutside: (serviceId) => fromOutside.get(serviceId) ?? NONE,
    put(id, rule) {
      const before = byId.get(id);
      if (before !== undefined) {
        byId.delete(id);
        const { forward, back } = pairOf(before);
        takeOut(forward, before.from.id, before.to.id);
        takeOut(back, before.to.id, before.from.id);
      }
      if (rule !== undefined) {
        byId.set(id, rule);
        const { forward, back } = pairOf(rule);
        putIn(forward, rule.from.id, rule.to.id);
        putIn(back, rule.to.id, rule.from.id);
      }
      return [before, rule].flatMap((one) => (one === undefined ? [] : [one.from.id, one.to.id]));
    },
  };
  for (const { value } of store.list<NetworkRuleRecord>(PREFIX.networkRules)) index.put(value.id, value);
  return index;
}

function putIn(groups: Map<string, Set<string>>, key: string, member: string): void {
  groups.set(key, (groups.get(key) ?? new Set()).add(member));
}

function takeOut(groups: Map<string, Set<string>>, key: string, member: string): void {
  const group = groups.get(key);
  group?.delete(member);
  if (group?.size === 0) groups.delete(key);
}

// Rules between apps, the cluster's settings of what apps reach, and how far the hosts enforce both.
import type { App } from "#api/apps.ts";
import { Fault } from "#api/fault.ts";
import * as network from "#api/network.ts";
import { newId } from "#lib/ids.ts";
import { findApp } from "../apps/find.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import { type ExternalServiceRecord, findExternal } from "../external/service.ts";
import type { Idempotent } from "../http/idempotency-key.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { enforcementOn } from "../network/enforcement.ts";
import { findRule, ruleChanges, ruleEnd, ruleOfPair, shownRule } from "../network/rules.ts";
import { page } from "../paging.ts";
import type { HostRecord, NetworkRuleRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Store } from "../store/store.ts";

type Target = Pick<network.NetworkParty, "kind" | "id" | "name">;

const wordsOf = ({ kind, name }: Target): string =>
  kind === "service" ? `the external service ${name}` : `jobs of ${name}`;

/** Names are one list, so without a kind it is what has the name. */
function findTarget(store: Store, { kind, name }: { kind?: string; name: string }): Target {
  const service = kind === "app" ? undefined : store.get<ExternalServiceRecord>(keys.externalService(name))?.value;
  if (service !== undefined) return { kind: "service", id: service.id, name };
  if (kind === "service") return { kind, ...findExternal(store, name).value };
  const { id, name: appName } = findApp(store, name).value;
  return { kind: "app", id, name: appName };
}

export function mountNetwork(mount: Mount, context: Context): void {
  const { store, now, reaches } = context;
  const create = async (
    from: App,
    to: Target,
    actor: string,
    idempotent: Idempotent,
  ): Promise<Entry<NetworkRuleRecord>> => {
    const rule: NetworkRuleRecord = {
      id: newId("rule"),
      from: { kind: "app", id: from.id },
      to: { kind: to.kind, id: to.id },
      createdAt: now().toISOString(),
      createdBy: actor,
    };
    const { result } = await store.commit({
      actor,
      ...idempotent,
      expect: [{ key: keys.networkPair(from.id, to.id), version: 0 }],
      mutations: [
        ...ruleChanges(store, rule),
        ...eventChanges(store, now(), {
          type: "network-rule.created",
          subject: rule.id,
          app: to.kind === "app" ? to.name : from.name,
          actor,
          message: `jobs of ${from.name} may open connections to ${wordsOf(to)}`,
        }),
      ],
      result: { id: rule.id },
    });
    return findRule(store, result.id);
  };

  mount(network.getNetwork, () => reaches.cluster());
  mount(network.listNetworkHosts, ({ query }) =>
    page(store.list<HostRecord>(PREFIX.hosts), query, ({ value }) => enforcementOn(value, context)),
  );
  mount(network.listNetworkRules, ({ query }) => {
    const appId = query.app === undefined ? undefined : findApp(store, query.app).value.id;
    const rules = store.list<NetworkRuleRecord>(PREFIX.networkRules);
    return page(
      rules.filter(({ value: { from, to } }) => appId === undefined || from.id === appId || to.id === appId),
      query,
      (entry) => shownRule(store, entry),
    );
  });
  mount(network.getNetworkRule, ({ params }) => shownRule(store, findRule(store, params.id)));
  mount(network.createNetworkRule, async ({ body, principal: { name }, idempotent, earlier }) => {
    if (body.from.kind === "service")
      throw new Fault("invalid", "an external service opens no connections by a rule; name an app as `from`", {
        details: { field: "from" },
      });
    const from = findApp(store, body.from.name).value;
    const to = findTarget(store, body.to);
    if (from.id === to.id)
      throw new Fault("invalid", `${from.name} reaches its own jobs without a rule; name two apps`, {
        details: { field: "to" },
      });
    const made = await earlier<{ id: string }>();
    const there = made === undefined ? ruleOfPair(store, from.id, to.id) : findRule(store, made.id);
    return shownRule(store, there ?? (await create(from, to, name, idempotent)));
  });
  mount(network.deleteNetworkRule, async ({ params, principal: { name } }) => {
    const { value: rule, key, version } = findRule(store, params.id);
    const shown = shownRule(store, { value: rule, key, version });
    const { seq } = await store.commit({
      actor: name,
      expect: [{ key: keys.networkRule(rule.id), version }],
      mutations: [
        ...ruleEnd(rule),
        ...eventChanges(store, now(), {
          type: "network-rule.removed",
          subject: rule.id,
          app: shown.to.kind === "app" ? shown.to.name : shown.from.name,
          actor: name,
          message: `jobs of ${shown.from.name} may no longer open connections to ${wordsOf(shown.to)}`,
        }),
      ],
    });
    return { version: seq };
  });
}

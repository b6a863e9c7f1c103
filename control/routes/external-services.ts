// External services: who registers one, and what goes with it.
import * as external from "#api/external-services.ts";
import { Fault } from "#api/fault.ts";
import { newId } from "#lib/ids.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import type { ExternalWatch } from "../external/health.ts";
import {
  checkExternalAddress,
  checkRoomForExternal,
  type ExternalServiceRecord,
  findExternal,
  rulesToExternal,
} from "../external/service.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { checkAppName } from "../names.ts";
import { ruleEnd } from "../network/rules.ts";
import { page } from "../paging.ts";

export function mountExternalServices(mount: Mount, context: Context, watch: Pick<ExternalWatch, "of">): void {
  const { store, now, reaches, config } = context;
  const shown = ({ id: _, ...service }: ExternalServiceRecord): external.ExternalService => ({
    ...service,
    ...watch.of({ ...service, id: _ }),
  });
  const check = (address: string) => checkExternalAddress(address, [...reaches.cluster().closed, config.clusterRange]);
  const event = (type: string, name: string, actor: string, message: string) =>
    eventChanges(store, now(), { type, subject: name, actor, message });

  mount(external.listExternalServices, ({ query }) =>
    page(store.list<ExternalServiceRecord>(PREFIX.externalServices), query, ({ value }) => shown(value)),
  );
  mount(external.getExternalService, ({ params, etag }) => {
    const { value, version } = findExternal(store, params.name);
    etag(version);
    return shown(value);
  });
  mount(external.createExternalService, async ({ body, principal, idempotent, earlier }) => {
    const { name, address, port, description } = body;
    const made = await earlier<string>();
    if (made !== undefined) return shown(findExternal(store, made).value);
    checkAppName(name);
    check(address);
    checkRoomForExternal(store);
    if (store.get(keys.appName(name)) !== undefined)
      throw new Fault("conflict", `an app or service is named ${name} already; choose another name`);
    const service: ExternalServiceRecord = {
      id: newId("service"),
      ...{ name, address, port },
      ...(description ? { description } : {}),
      createdAt: now().toISOString(),
    };
    await store.commit({
      actor: principal.name,
      ...idempotent,
      // The names of apps and of what is outside are one list: a name means one thing.
      expect: [{ key: keys.appName(name), version: 0 }],
      mutations: [
        { key: keys.externalService(name), value: service },
        { key: keys.appName(name), value: service.id },
        ...event("service.registered", name, principal.name, `external service ${name} is at ${address}:${port}`),
      ],
      result: name,
    });
    return shown(findExternal(store, name).value);
  });
  mount(external.updateExternalService, async ({ params, body, principal, ifMatch, etag }) => {
    const { key, value, version } = findExternal(store, params.name);
    const next: ExternalServiceRecord = { ...value, ...body };
    if (body.address !== undefined) check(body.address);
    const { seq } = await store.commit({
      actor: principal.name,
      expect: [{ key, version: ifMatch ?? version }],
      mutations: [
        { key, value: next },
        ...event(
          "service.changed",
          value.name,
          principal.name,
          `external service ${value.name} is at ${next.address}:${next.port}`,
        ),
      ],
    });
    etag(seq);
    return shown(next);
  });
  mount(external.deleteExternalService, async ({ params, principal, ifMatch }) => {
    const { key, value, version } = findExternal(store, params.name);
    await store.commit({
      actor: principal.name,
      expect: [{ key, version: ifMatch ?? version }],
      mutations: [
        { key, value: null },
        { key: keys.appName(value.name), value: null },
        ...rulesToExternal(store, value.id).flatMap(ruleEnd),
        ...event("service.removed", value.name, principal.name, `external service ${value.name} was removed`),
      ],
    });
    return {};
  });
}

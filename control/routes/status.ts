// How the whole stands: every part with its state in plain words; and what happened.
import { readFile } from "node:fs/promises";
import type { Static } from "typebox";
import type { Alert } from "#api/alerts.ts";
import type { App } from "#api/apps.ts";
import { Fault } from "#api/fault.ts";
import { isEnded, type Job } from "#api/jobs.ts";
import { getRouter, listRouters, type Router } from "#api/routes.ts";
import * as status from "#api/status.ts";
import type { StreamEvent } from "#api/stream.ts";
import type { Hello } from "#api/version.ts";
import { createWake } from "#lib/wake.ts";
import type { Alerts } from "../alerts/alerts.ts";
import type { Context } from "../context.ts";
import { writingProblem } from "../disk/writing.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { page, pageOf } from "../paging.ts";
import type { MemberSeen } from "../presence.ts";
import type { ClusterSettings, HostRecord, MemberRecord } from "../records.ts";

type Part = Static<typeof status.Part>;
/** As `node api/openapi.ts` prints it; made here, it would have to be loaded by every start. */
const printed = async (name: string): Promise<unknown> =>
  JSON.parse(await readFile(new URL(`../../api/${name}`, import.meta.url), "utf8"));
const SILENT_MS = 10_000;
const IDLE_MS = 60_000;

export interface StatusParts {
  /** Parts known to others: scheduler, registry, brake. */
  more: () => Promise<Part[]>;
  alerts: Pick<Alerts, "active">;
  monotonicMs: () => number;
}

export function mountStatus(mount: Mount, context: Context, { more, alerts, monotonicMs }: StatusParts): void {
  const { store, presence, hello, startedAt } = context;

  const routers = (): Router[] =>
    store.list<MemberRecord>(PREFIX.routers).map(({ value: { id, name, joinedAt } }) => {
      const seen = presence.routers.get(id);
      const { hello, refusal } = presence.members.get(id) ?? {};
      const said = hello === undefined ? {} : { hello };
      if (refusal !== undefined)
        return {
          id,
          name,
          state: "unhealthy",
          reason: refusal,
          generation: seen?.report.generation ?? 0,
          reloads: seen?.report.reloads ?? 0,
          joinedAt,
          ...said,
        };
      if (seen === undefined)
        return {
          id,
          name,
          state: "joining",
          reason: "not heard since control started",
          generation: 0,
          reloads: 0,
          joinedAt,
          ...said,
        };
      const { generation, healthy, reason, address, reloads } = seen.report;
      const silent = monotonicMs() - seen.atMs > SILENT_MS;
      return {
        id,
        name,
        state: silent ? "lost" : healthy ? "ready" : "unhealthy",
        reason: silent ? "fell silent" : reason,
        generation,
        address,
        reloads,
        joinedAt,
        lastSeenAt: seen.at,
        ...said,
      };
    });

  mount(status.getHealth, () => ({ ok: true }));
  mount(status.getOpenapi, () => printed("openapi.json"));
  mount(status.getAgentsOpenapi, () => printed("openapi-agents.json"));
  mount(listRouters, ({ query }) => pageOf(routers(), query));
  mount(getRouter, ({ params }) => {
    const found = routers().find(({ id }) => id === params.id);
    if (found === undefined) throw new Fault("not-found", `no router ${params.id}`);
    return found;
  });
  mount(status.getStatus, async () => {
    const hosts = store.list<HostRecord>(PREFIX.hosts).map(({ value }) => value);
    const jobs = store
      .list<Job>(PREFIX.jobs)
      .map(({ value }) => value)
      .filter((job) => !isEnded(job));
    const parts: Part[] = [
      {
        name: "store",
        state: store.report.outcome === "recovered" ? "degraded" : "ok",
        message: `LevelDB, seq ${store.durableSeq}${store.report.findings.length ? `; at open: ${store.report.findings.join("; ")}` : ""}`,
        ...writingProblem(store),
      },
      ...routerParts(routers()),
      bootPart(
        store.list<MemberRecord>(PREFIX.bootServers).map(({ value: { id } }) => presence.members.get(id)),
        presence.bootServersThere() > 0,
      ),
      hostsPart(hosts),
      ...(await more()),
    ];
    return {
      version: hello.version,
      hello,
      clusterId: store.get<ClusterSettings>(keys.cluster)!.value.clusterId,
      term: store.term,
      seq: store.durableSeq,
      startedAt,
      state: parts.some(({ state }) => state === "down")
        ? "down"
        : parts.some(({ state }) => state === "degraded")
          ? "degraded"
          : "ok",
      parts,
      counts: {
        machines: store.count(PREFIX.machines),
        hosts: hosts.length,
        hostsReady: hosts.filter(({ state }) => state === "ready").length,
        apps: store.list<App>(PREFIX.apps).length,
        jobs: jobs.length,
        jobsUp: jobs.filter(({ state }) => state === "up").length,
        routes: store.count(PREFIX.routes),
      },
      alerts: alertCounts(alerts.active()),
    } satisfies status.Status;
  });

  const events = (after: number): status.Event[] => {
    const from = keys.event(after + 1);
    return store
      .list<status.Event>(PREFIX.events)
      .filter(({ key }) => key >= from)
      .map(({ value }) => value);
  };
  mount(
    status.listEvents,
    ({ query: { app, type, after = 0, ...query } }) => {
      const newestFirst = events(after)
        .filter((event) => wanted(event, app, type))
        .reverse()
        .map((value) => ({ key: keys.event(value.seq), value }));
      return page(newestFirst, query, ({ value }) => value, { falling: true });
    },
    async function* ({ query: { app, type, after }, signal, lastEventId }): AsyncGenerator<StreamEvent<status.Event>> {
      let seen = Number(lastEventId ?? after ?? 0) || 0;
      const oldest = store.list<status.Event>(PREFIX.events)[0]?.value.seq ?? 0;
      if (lastEventId !== undefined && seen > 0 && seen < oldest)
        throw new Fault("gone", `events before ${oldest} are not kept; list again`);
      let isNew = true;
      const woken = createWake();
      const stop = store.onDurable(({ mutations }) => {
        if (!mutations.some(({ key }) => key.startsWith(PREFIX.events))) return;
        isNew = true;
        woken.ring();
      });
      try {
        for (let first = true; !signal.aborted; first = false) {
          const found = isNew ? events(seen) : [];
          isNew = false;
          for (const event of found) {
            seen = event.seq;
            if (wanted(event, app, type)) yield { event: "item", id: String(event.seq), data: event };
          }
          if (first) yield { event: "current", id: String(seen) };
          await woken.wait(IDLE_MS, signal);
        }
      } finally {
        stop();
      }
    },
  );
}

const wanted = (event: status.Event, app: string | undefined, type: string | undefined): boolean =>
  (app === undefined || event.app === app) &&
  (type === undefined || event.type === type || event.type.startsWith(`${type}.`));

function alertCounts(active: readonly Alert[]): NonNullable<status.Status["alerts"]> {
  const critical = active.filter(({ severity }) => severity === "critical").length;
  const rank = ({ severity }: Alert) => Number(severity !== "critical");
  const newest = active.toSorted((a, b) => rank(a) - rank(b) || (a.since < b.since ? 1 : -1)).slice(0, 10);
  return { critical, warning: active.length - critical, newest };
}

function routerParts(routers: readonly Router[]): Part[] {
  if (routers.length === 0) return [{ name: "router", state: "down", message: "no router has joined" }];
  return routers.map(({ name, state, reason, generation, hello }) => ({
    name: `router ${name}`,
    state: state === "ready" ? "ok" : state === "joining" ? "degraded" : "down",
    message: state === "ready" ? `serves generation ${generation}${versionText(hello)}` : `${state}: ${reason}`,
  }));
}

const versionText = (hello: Hello | undefined): string => (hello === undefined ? "" : `, flynn ${hello.version}`);

function bootPart(joined: readonly (MemberSeen | undefined)[], heard: boolean): Part {
  const name = "boot server";
  const refusal = joined.find((each) => each?.refusal !== undefined)?.refusal;
  if (refusal !== undefined) return { name, state: "down", message: refusal };
  if (joined.length === 0)
    return { name: "boot server", state: "ok", message: "off (start with `flynn up --interface IFACE`)" };
  return {
    name: "boot server",
    state: heard ? "ok" : "degraded",
    message: heard ? `connected${versionText(joined.at(-1)?.hello)}` : "not heard lately",
  };
}

function hostsPart(hosts: readonly HostRecord[]): Part {
  const ready = hosts.filter(({ state }) => state === "ready").length;
  const bad = hosts.filter(({ state }) => state === "lost" || state === "unhealthy");
  if (hosts.length === 0) return { name: "hosts", state: "degraded", message: "no host has joined yet" };
  return {
    name: "hosts",
    state: ready === 0 ? "down" : bad.length > 0 ? "degraded" : "ok",
    message: `${ready} of ${hosts.length} ready${bad.length ? `; ${bad.map(({ name, state }) => `${name} ${state}`).join(", ")}` : ""}`,
  };
}

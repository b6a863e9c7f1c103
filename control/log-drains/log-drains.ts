// All drains: kept in the store with their URL sealed, each run by a pump of its own, with its progress in a file so that a restart
// goes on where it was.

import { rm } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import type { App } from "#api/apps.ts";
import type { LogDrain, LogDrainRequest } from "#api/drains.ts";
import { Fault, isFault } from "#api/fault.ts";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import { newId } from "#lib/ids.ts";
import { causeChain } from "#lib/run.ts";
import { every, joined } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import type { Idempotent } from "../http/idempotency-key.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Logs } from "../logs/logs.ts";
import type { ClusterSettings, HostRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import { type AddressPolicy, allowedAddress, resolveHost } from "./address.ts";
import { type Progress, type Pump, startPump } from "./pump.ts";
import { httpsSender } from "./send-https.ts";
import { syslogSender } from "./send-syslog.ts";
import { maskUrl, parseTarget } from "./target.ts";

export interface LogDrainRecord {
  id: string;
  /** Absent: lines of all apps. */
  appId?: string;
  /** As people may read it. */
  shown: string;
  /** `{url, caPem}`, sealed. */
  sealed: string;
  gzip: boolean;
  createdAt: string;
  createdBy: string;
}

export interface LogDrains {
  create(
    app: App | undefined,
    requested: LogDrainRequest,
    by: { name: string; idempotent: Idempotent },
  ): Promise<LogDrain>;
  /** Those of the app, or all. */
  list(app?: App): LogDrain[];
  /** Of the app, or whichever there is; Fault `not-found`. */
  find(id: string, app: App | undefined): LogDrain;
  remove(id: string, app: App | undefined, by: string): Promise<void>;
  /** Runs every drain until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

const DRAINS_PER_OWNER = 10;
const SAVE_EVERY_MS = 2_000;
const ownerOf = (id: string) => `drain ${id}`;

interface Running {
  pump: Pump;
  stop: AbortController;
  saved: string;
}

type LogDrainsContext = Pick<Context, "store" | "config" | "secrets" | "log" | "now">;

export function createLogDrains(context: LogDrainsContext, logs: Pick<Logs, "follow">): LogDrains {
  const { store, config, secrets, log, now } = context;
  const running = new Map<string, Running>();
  /** LogDrains whose sealed URL cannot be opened, with why. */
  const unusable = new Map<string, string>();
  const fileOf = (id: string) => join(config.stateDir, "drains", `${id}.json`);
  const records = () => store.list<LogDrainRecord>(PREFIX.logDrains);
  const policy = (): AddressPolicy => ({
    allow: config.drainAllow,
    clusterRange: store.get<ClusterSettings>(keys.cluster)!.value.clusterRange,
    members: () => [
      ...Object.values(networkInterfaces()).flatMap((list) =>
        (list ?? []).filter(({ internal }) => !internal).map(({ address }) => address),
      ),
      ...store.list<HostRecord>(PREFIX.hosts).flatMap(({ value }) => value.address ?? []),
    ],
  });
  const appOf = ({ appId }: LogDrainRecord) =>
    appId === undefined ? undefined : store.get<App>(keys.app(appId))?.value;
  const isGone = (app: App | undefined) => app === undefined || app.deleting === true;
  const shown = (record: LogDrainRecord): LogDrain => {
    const { id, gzip, createdAt, createdBy } = record;
    const app = appOf(record)?.name;
    const none = { lagSeconds: 0, buffered: 0, sent: 0, dropped: 0 };
    const lastError = unusable.get(id);
    const idle = lastError === undefined ? { state: "idle" as const } : { state: "refused" as const, lastError };
    const report = running.get(id)?.pump.report() ?? { ...none, ...idle };
    return { id, ...(app === undefined ? {} : { app }), url: record.shown, gzip, ...report, createdAt, createdBy };
  };

  const start = async (record: LogDrainRecord, signal: AbortSignal): Promise<void> => {
    const { id, appId } = record;
    const app = appOf(record);
    const { url, caPem } = JSON.parse(secrets.open(record.sealed, ownerOf(id))) as { url: string; caPem?: string };
    const target = parseTarget(url);
    const options = { address: () => allowedAddress(target.host, policy()), ...(caPem === undefined ? {} : { caPem }) };
    const sender =
      target.kind === "https" ? httpsSender(target, { ...options, gzip: record.gzip }) : syslogSender(target, options);
    const progress = (await readJson<Progress>(fileOf(id))) ?? { sent: 0, dropped: 0 };
    const stop = new AbortController();
    const either = joined(signal, stop.signal);
    const pump = startPump({
      app: app?.name ?? "cluster",
      follow: (ended, place) => logs.follow(appId === undefined ? undefined : app, { lines: 0 }, ended, place),
      sender,
      progress,
      signal: either.signal,
    });
    void pump.ended.finally(either.release);
    running.set(id, { pump, stop, saved: "" });
  };
  const save = async (id: string, one: Running): Promise<void> => {
    const text = JSON.stringify(one.pump.progress());
    if (text === one.saved) return;
    await writeFileAtomic(fileOf(id), text, { mode: 0o600 });
    one.saved = text;
  };
  const end = async (id: string): Promise<void> => {
    const one = running.get(id);
    running.delete(id);
    one?.stop.abort();
    await one?.pump.ended;
  };

  /** What runs is what is kept; a drain whose app is gone goes too. */
  const converge = async (signal: AbortSignal): Promise<void> => {
    const kept = records();
    const orphans = kept.filter(({ value }) => value.appId !== undefined && isGone(appOf(value)));
    if (orphans.length > 0)
      await store.commit({ actor: "retention", mutations: orphans.map(({ key }) => ({ key, value: null })) });
    const wanted = new Map(kept.filter((entry) => !orphans.includes(entry)).map(({ value }) => [value.id, value]));
    for (const id of [...running.keys()].filter((id) => !wanted.has(id))) {
      await end(id);
      await rm(fileOf(id), { force: true });
    }
    for (const id of [...unusable.keys()].filter((id) => !wanted.has(id))) unusable.delete(id);
    for (const record of wanted.values()) {
      if (running.has(record.id) || unusable.has(record.id) || signal.aborted) continue;
      await start(record, signal).catch((error: unknown) => {
        unusable.set(record.id, causeChain(error).join(": "));
        log.error({ drain: record.id, causes: causeChain(error) }, "a log drain cannot be used");
      });
    }
    for (const [id, one] of running) await save(id, one);
  };

  const entryOf = (id: string, app: App | undefined): Entry<LogDrainRecord> => {
    const entry = store.get<LogDrainRecord>(keys.logDrain(id));
    if (entry === undefined || (app !== undefined && entry.value.appId !== app.id))
      throw new Fault("not-found", `no log drain ${id}${app === undefined ? "" : ` of ${app.name}`}`);
    return entry;
  };

  return {
    find: (id, app) => shown(entryOf(id, app).value),
    async create(app, requested, { name, idempotent }) {
      const target = parseTarget(requested.url);
      // Refused now when it is plain; a name that means nothing today may tomorrow, and is checked at every connection anyway.
      await allowedAddress(target.host, policy(), resolveHost).catch((error: unknown) => {
        if (isFault(error, "forbidden")) throw new Fault("invalid", error.message, { details: { field: "url" } });
      });
      if (records().filter(({ value }) => value.appId === app?.id).length >= DRAINS_PER_OWNER)
        throw new Fault("conflict", `there are ${DRAINS_PER_OWNER} drains already; remove one first`);
      const id = newId("drain");
      const { url, caPem } = requested;
      const record: LogDrainRecord = {
        id,
        ...(app === undefined ? {} : { appId: app.id }),
        shown: maskUrl(url),
        sealed: secrets.seal(JSON.stringify({ url, caPem }), ownerOf(id)),
        gzip: requested.gzip ?? false,
        createdAt: now().toISOString(),
        createdBy: name,
      };
      const event = {
        type: "log-drain.created",
        subject: id,
        ...(app === undefined ? {} : { app: app.name }),
        actor: name,
        message: `log drain to ${record.shown} added`,
      };
      const { result } = await store.commit({
        actor: name,
        expect: [{ key: keys.logDrain(id), version: 0 }],
        mutations: [{ key: keys.logDrain(id), value: record }, ...eventChanges(store, now(), event)],
        result: record,
        ...idempotent,
      });
      return shown(result);
    },
    list: (app) =>
      records()
        .map(({ value }) => value)
        .filter(({ appId }) => app === undefined || appId === app.id)
        .map(shown),
    async remove(id, app, by) {
      const entry = entryOf(id, app);
      const owner = appOf(entry.value);
      const event = {
        type: "log-drain.removed",
        subject: id,
        ...(owner === undefined ? {} : { app: owner.name }),
        actor: by,
        message: `log drain to ${entry.value.shown} removed`,
      };
      await store.commit({
        actor: by,
        expect: [{ key: entry.key, version: entry.version }],
        mutations: [{ key: entry.key, value: null }, ...eventChanges(store, now(), event)],
      });
    },
    async run(signal) {
      const wake = createWake();
      const stopListening = store.onDurable(({ mutations }) => {
        if (mutations.some(({ key }) => key.startsWith(PREFIX.logDrains) || key.startsWith(PREFIX.apps))) wake.ring();
      });
      const tell = (error: unknown) => log.error({ causes: causeChain(error) }, "log drains are not as they should be");
      try {
        for await (const _ of every(0, signal)) {
          await converge(signal).catch(tell);
          await wake.wait(SAVE_EVERY_MS, signal);
        }
      } finally {
        stopListening();
        await Promise.all([...running.values()].map(({ pump }) => pump.ended));
        for (const [id, one] of running) await save(id, one).catch(tell);
        running.clear();
      }
    },
  };
}

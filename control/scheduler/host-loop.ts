// Applies the rules of liveness.ts: writes host states and events, tells the scheduler whom to give up. Frames reach it from
// the presence list, which no queue of work stands in front of.
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { every } from "#lib/time.ts";
import { eventChanges, type NewEvent, plainText } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Presence } from "../presence.ts";
import type { HostRecord } from "../records.ts";
import type { Store } from "../store/store.ts";
import { type BrakeStatus, Liveness, type LivenessOptions, type Verdict } from "./liveness.ts";
import type { Scheduler } from "./scheduler.ts";

export interface HostLoopOptions extends LivenessOptions {
  store: Store;
  log: Log;
  presence: Pick<Presence, "hosts" | "members" | "onFrame">;
  scheduler: Pick<Scheduler, "evict" | "readmit" | "hasJobs">;
  /** Monotonic milliseconds: the clock of liveness. */
  monotonicMs?: () => number;
  /** Wall clock, for times in records. */
  now?: () => number;
  tickMs?: number;
}

export interface HostLoop {
  /** `start`, then `tick` twice a second until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
  /** For the status page: `on` means that lost hosts are not being replaced, on purpose. */
  brake(): BrakeStatus;
  /** Takes in the hosts on record, each with a full TTL, and listens for frames. Returns the way to stop. */
  start(): () => void;
  /** Looks at the clock once. */
  tick(): void;
}

export function createHostLoop(options: HostLoopOptions): HostLoop {
  const {
    store,
    log,
    presence,
    scheduler,
    monotonicMs = () => performance.now(),
    now = Date.now,
    tickMs = 500,
  } = options;
  const liveness = new Liveness(monotonicMs(), options);
  const ttlText = `${(options.ttlMs ?? 10_000) / 1000} s`;

  const write = (hostId: string, change: Partial<HostRecord>, event?: Pick<NewEvent, "type" | "message">): void => {
    const entry = store.get<HostRecord>(keys.host(hostId));
    if (entry === undefined) return;
    const { key, value, version } = entry;
    const mutations = [{ key, value: { ...value, ...change } }];
    const events = event && eventChanges(store, new Date(now()), { ...event, subject: hostId, actor: "control" });
    store
      .commit({ actor: "liveness", mutations: [...mutations, ...(events ?? [])], expect: [{ key, version }] })
      .catch((error) => log.error({ err: error, hostId }, "host state not written"));
  };

  const nameOf = (hostId: string) => store.get<HostRecord>(keys.host(hostId))?.value.name ?? hostId;

  const apply = (verdict: Verdict): void => {
    const { hostId } = verdict;
    const name = nameOf(hostId);
    if (verdict.type === "lost") {
      log.warn({ hostId, name }, "host lost");
      const reason = `silent for ${ttlText}`;
      write(hostId, { state: "lost", reason }, { type: "host.lost", message: `host ${name} was ${reason}` });
    } else if (verdict.type === "evict") {
      log.warn({ hostId, name }, "host given up");
      scheduler.evict(hostId);
    } else if (verdict.type === "released") {
      write(hostId, { heldUntil: undefined }, { type: "host.released", message: `host ${name} takes jobs again` });
    } else {
      log.info({ hostId, name, heldForMs: verdict.heldForMs }, "host returned");
      const held = verdict.heldForMs > 0 ? new Date(now() + verdict.heldForMs).toISOString() : undefined;
      const message = `host ${name} is back${held === undefined ? "" : `; it comes and goes, so no new jobs before ${held}`}`;
      write(
        hostId,
        { ...stateNow(hostId), ...(held === undefined ? {} : { heldUntil: held }) },
        { type: "host.returned", message },
      );
      scheduler.readmit(hostId);
    }
  };

  /** What its newest report says of it. */
  const stateNow = (hostId: string): Pick<HostRecord, "state" | "reason"> => {
    const refusal = presence.members.get(hostId)?.refusal;
    if (refusal !== undefined) return { state: "unhealthy", reason: refusal };
    const engine = presence.hosts.get(hostId)?.report.engine;
    if (engine === undefined || engine.healthy) return { state: "ready", reason: "" };
    return { state: "unhealthy", reason: plainText(engine.reason) };
  };

  const onFrame = (hostId: string): void => {
    const refused = presence.members.get(hostId)?.refusal !== undefined;
    if (!presence.hosts.has(hostId) && !refused) return; // a router or boot server
    const record = store.get<HostRecord>(keys.host(hostId))?.value;
    if (record === undefined) return;
    const verdict = liveness.seen(hostId, monotonicMs());
    if (verdict !== undefined) {
      apply(verdict);
      return;
    }
    const { state, reason } = stateNow(hostId);
    if (record.state === state && record.reason === reason) return;
    write(
      hostId,
      { state, reason },
      { type: `host.${state}`, message: `host ${record.name} is ${state}${reason && `: ${reason}`}` },
    );
  };

  const knowHosts = (): void => {
    const nowMs = monotonicMs();
    for (const { value } of store.list<HostRecord>(PREFIX.hosts)) {
      // One that never reported has run nothing: there is nothing to lose.
      if (value.state === "joining") continue;
      const heldForMs = value.heldUntil === undefined ? 0 : Math.max(1, Date.parse(value.heldUntil) - now());
      liveness.know(value.id, { lost: value.state === "lost", hasJobs: scheduler.hasJobs(value.id), heldForMs }, nowMs);
    }
  };

  const start = (): (() => void) => {
    knowHosts();
    const stops = [
      presence.onFrame(onFrame),
      store.onDurable(({ mutations }) => {
        for (const { key, value } of mutations) {
          if (key.startsWith(PREFIX.hosts) && value === null) liveness.forget(key.slice(PREFIX.hosts.length));
        }
      }),
    ];
    return () => {
      for (const stop of stops) stop();
    };
  };

  const isPlanned = (hostId: string): boolean => store.get<HostRecord>(keys.host(hostId))?.value.reboot !== undefined;

  let braked = false;
  const tick = (): void => {
    for (const verdict of liveness.tick(monotonicMs(), isPlanned)) {
      try {
        apply(verdict);
      } catch (error) {
        log.error({ causes: causeChain(error), ...verdict }, "what follows from a host's silence could not be done");
      }
    }
    const brake = liveness.brake();
    if (brake.on === braked) return;
    braked = brake.on;
    if (braked) log.error(brake, "many hosts lost together, their jobs are left alone");
    else log.info("hosts back, jobs of lost hosts are replaced again");
  };

  return {
    start,
    tick,
    brake: () => liveness.brake(),
    async run(signal) {
      const stop = start();
      try {
        for await (const _ of every(tickMs, signal)) tick();
      } finally {
        stop();
      }
    },
  };
}

// Health of running containers: rise and fall as a rule, one probing loop per container as its adapter.
import { request } from "node:http";
import { connect } from "node:net";
import type { HealthCheck } from "#api/jobs.ts";
import { joined, sleep } from "#lib/time.ts";
import type { HealthState, JobHealth } from "./job-record.ts";

export interface Streak {
  state: HealthState;
  successes: number;
  failures: number;
  reason: string;
}

export const freshStreak = (state: HealthState = "starting"): Streak => ({
  state,
  successes: 0,
  failures: 0,
  reason: "",
});

/** One probe's outcome folded in; `failure` undefined is a success. */
export function fold(
  streak: Streak,
  failure: string | undefined,
  { rise, fall }: Pick<HealthCheck, "rise" | "fall">,
): Streak {
  if (failure === undefined) {
    const successes = streak.successes + 1;
    return { state: successes >= rise ? "healthy" : streak.state, successes, failures: 0, reason: streak.reason };
  }
  const failures = streak.failures + 1;
  // Before its first success a process is starting, however often it does not answer yet.
  const fell = failures >= fall && streak.state !== "starting";
  return { state: fell ? "unhealthy" : streak.state, successes: 0, failures, reason: failure };
}

const SOONEST_MS = 100;
const SOONER_SHARE = 0.2;

/**
 * Until the next probe. One that starts is looked at often, the longer it takes the less: what is up is not left waiting for a whole
 * interval. From its first answer on the interval is as it was set.
 */
export function nextProbeMs(
  { state, successes }: Streak,
  sinceMs: number,
  { intervalMs }: Pick<HealthCheck, "intervalMs">,
): number {
  if (state !== "starting" || successes > 0) return intervalMs;
  return Math.min(intervalMs, Math.max(SOONEST_MS, sinceMs * SOONER_SHARE));
}

/** Why the probe failed, or undefined. Never throws, never outlives `timeoutMs`. */
export type Probe = (
  check: HealthCheck,
  to: { address: string; port: number },
  signal: AbortSignal,
) => Promise<string | undefined>;

export const probe: Probe = async (check, to, signal) => {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), check.timeoutMs);
  const limited = joined(signal, late.signal);
  try {
    return await (check.type === "http" ? probeHttp(check, to, limited.signal) : probeTcp(to, limited.signal));
  } finally {
    clearTimeout(timer);
    limited.release();
  }
};

function probeTcp(
  { address, port }: { address: string; port: number },
  signal: AbortSignal,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const late = () => done(`no connection on port ${port} in time`);
    const done = (failure?: string) => {
      socket.destroy();
      resolve(failure);
    };
    socket.on("connect", () => done());
    socket.on("error", (error: NodeJS.ErrnoException) => done(refusal(error, port)));
    signal.addEventListener("abort", late, { once: true });
  });
}

/** `200,204` and `200-299` as a claim about a status; left out, anything but an error is healthy. */
export function isHealthyStatus(status: number, wanted = "200-399"): boolean {
  return wanted.split(",").some((part) => {
    const [least, most = least] = part.split("-").map(Number);
    return status >= least! && status <= most!;
  });
}

function probeHttp(
  { path = "/", status: wanted }: HealthCheck,
  { address, port }: { address: string; port: number },
  signal: AbortSignal,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const headers = { "user-agent": "flynn-health", connection: "close" };
    const req = request({ host: address, port, path, method: "GET", headers, agent: false, signal }, (reply) => {
      const status = reply.statusCode ?? 0;
      reply.destroy();
      resolve(isHealthyStatus(status, wanted) ? undefined : `GET ${path} answered ${status}`);
    });
    req.on("error", (error: NodeJS.ErrnoException) =>
      resolve(signal.aborted ? `GET ${path} got no answer in time` : refusal(error, port)),
    );
    req.end();
  });
}

function refusal(error: NodeJS.ErrnoException, port: number): string {
  return error.code === "ECONNREFUSED" ? `nothing listens on port ${port}` : `port ${port}: ${error.message}`;
}

export interface Watched {
  containerId: string;
  check: HealthCheck;
  address: string | undefined;
  port: number | undefined;
  /** It was healthy when last looked at, by this hostd or the one before. */
  wasHealthy: boolean;
}

export interface HealthWatch {
  /** Watches exactly these; others are forgotten. */
  sync(containers: readonly Watched[]): void;
  get(containerId: string): JobHealth | undefined;
}

export function watchHealth(options: { onChange: () => void; signal: AbortSignal; probe?: Probe }): HealthWatch {
  const { onChange, signal, probe: look = probe } = options;
  const watched = new Map<string, { of: Watched; streak: Streak; known: boolean; controller: AbortController }>();

  const once = async ({ check, address, port }: Watched, ended: AbortSignal): Promise<string | undefined> => {
    if (check.type === "none" || port === undefined) return undefined;
    return address === undefined ? "it has no address yet" : look(check, { address, port }, ended);
  };

  const loop = async (containerId: string, ended: AbortSignal) => {
    const startedMs = performance.now();
    while (!ended.aborted) {
      const entry = watched.get(containerId);
      if (entry === undefined) return;
      const { check } = entry.of;
      const failure = await once(entry.of, ended);
      if (ended.aborted) return;
      const streak = fold(entry.streak, failure, check);
      const changed = !entry.known || streak.state !== entry.streak.state || streak.reason !== entry.streak.reason;
      Object.assign(entry, { streak, known: true });
      if (changed) onChange();
      await sleep(nextProbeMs(streak, performance.now() - startedMs, check), ended);
    }
  };

  return {
    sync(containers) {
      const ids = new Set(containers.map(({ containerId }) => containerId));
      for (const [id, { controller }] of watched)
        if (!ids.has(id)) {
          controller.abort();
          watched.delete(id);
        }
      for (const container of containers) {
        const existing = watched.get(container.containerId);
        if (existing) {
          existing.of = container;
          continue;
        }
        const controller = new AbortController();
        // Where nothing is probed, it is known at once how it stands.
        const known = container.check.type === "none" || container.port === undefined;
        const streak = freshStreak(known || container.wasHealthy ? "healthy" : "starting");
        watched.set(container.containerId, { of: container, streak, known, controller });
        const ended = joined(signal, controller.signal);
        void loop(container.containerId, ended.signal).finally(ended.release);
      }
    },
    get(containerId) {
      const entry = watched.get(containerId);
      return entry?.known ? { state: entry.streak.state, reason: entry.streak.reason } : undefined;
    },
  };
}

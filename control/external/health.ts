// Whether external services answer: a TCP connection each, a few at a time, every ten seconds. Kept in memory; what changes is an event.
import { connect } from "node:net";
import { causeChain } from "#lib/run.ts";
import { createWake } from "#lib/wake.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import type { ExternalServiceRecord } from "./service.ts";

export interface ExternalHealth {
  state: "unknown" | "up" | "unhealthy";
  reason: string;
  checkedAt?: string;
}

/** Why no connection could be opened, or undefined. Never throws, never outlives its time. */
export type Dial = (to: { address: string; port: number }, signal: AbortSignal) => Promise<string | undefined>;

export interface ExternalWatch {
  of(service: Pick<ExternalServiceRecord, "id" | "address" | "port">): ExternalHealth;
  run(signal: AbortSignal): Promise<void>;
}

const EVERY_MS = 10_000;
const DIAL_MS = 3_000;
const AT_A_TIME = 16;
/** Failures in a row that make one that answered unhealthy: one lost packet does not. */
const FAILURES = 2;

interface Seen extends ExternalHealth {
  endpoint: string;
  failures: number;
}

export function watchExternal(
  { store, now, log }: Pick<Context, "store" | "now" | "log">,
  { dial = dialTcp, everyMs = EVERY_MS }: { dial?: Dial | undefined; everyMs?: number | undefined } = {},
): ExternalWatch {
  const seen = new Map<string, Seen>();
  const woken = createWake();
  const endpointOf = ({ address, port }: Pick<ExternalServiceRecord, "address" | "port">) => `${address}:${port}`;

  const look = async (service: ExternalServiceRecord, signal: AbortSignal): Promise<void> => {
    const endpoint = endpointOf(service);
    const failure = await dial(service, signal);
    if (signal.aborted) return;
    const before = seen.get(service.id);
    const same = before?.endpoint === endpoint ? before : undefined;
    const failures = failure === undefined ? 0 : (same?.failures ?? 0) + 1;
    const isSpared = failures < FAILURES && same?.state === "up";
    const state = failures === 0 || isSpared ? "up" : "unhealthy";
    const reason = state === "unhealthy" ? (failure ?? "") : "";
    seen.set(service.id, { endpoint, failures, state, reason, checkedAt: now().toISOString() });
    if (same?.state === state) return;
    if (state === "up" && same === undefined) return; // as everybody expects
    await store.commit({
      actor: "registry",
      mutations: eventChanges(store, now(), {
        type: `service.${state}`,
        subject: service.name,
        actor: "registry",
        message: `external service ${service.name} at ${endpoint} ${state === "up" ? "answers" : `does not answer: ${reason}`}`,
      }),
    });
  };

  const lookAtAll = async (signal: AbortSignal): Promise<void> => {
    const services = store.list<ExternalServiceRecord>(PREFIX.externalServices).map(({ value }) => value);
    const ids = new Set(services.map(({ id }) => id));
    for (const id of seen.keys()) if (!ids.has(id)) seen.delete(id);
    const rest = services.values();
    const lane = async () => {
      for (const service of rest) {
        if (signal.aborted) return;
        if (store.get(keys.externalService(service.name)) === undefined) continue;
        await look(service, signal).catch((error: unknown) => {
          if (store.ended) throw error;
          log.warn({ service: service.name, causes: causeChain(error) }, "an external service was not looked at");
        });
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, lane));
  };

  return {
    of(service) {
      const found = seen.get(service.id);
      if (found === undefined || found.endpoint !== endpointOf(service)) return { state: "unknown", reason: "" };
      const { state, reason, checkedAt } = found;
      return { state, reason, ...(checkedAt === undefined ? {} : { checkedAt }) };
    },
    async run(signal) {
      const stop = store.onDurable(({ mutations }) => {
        if (mutations.some(({ key, value }) => key.startsWith(PREFIX.externalServices) && value !== null)) woken.ring();
      });
      try {
        while (!signal.aborted) {
          await lookAtAll(signal);
          await woken.wait(everyMs, signal);
        }
      } finally {
        stop();
      }
    },
  };
}

export const dialTcp: Dial = ({ address, port }, signal) =>
  new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const end = (why: string | undefined) => {
      signal.removeEventListener("abort", stopped);
      socket.destroy();
      resolve(why);
    };
    const stopped = () => end("control stops");
    socket.setTimeout(DIAL_MS, () => end(`no answer within ${DIAL_MS / 1_000} s`));
    socket.once("connect", () => end(undefined));
    socket.once("error", (error: NodeJS.ErrnoException) => end(wordsOf(error)));
    signal.addEventListener("abort", stopped, { once: true });
    if (signal.aborted) stopped();
  });

function wordsOf({ code, message }: NodeJS.ErrnoException): string {
  if (code === "ECONNREFUSED") return "the connection is refused: nothing listens on that port";
  if (code === "EHOSTUNREACH" || code === "ENETUNREACH") return "there is no route to it";
  return message;
}

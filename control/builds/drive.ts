// Drives one build to its end: looks at what is, does the next thing, waits until something changed. Everything it goes by is in
// the store or on disk, and words are written before the record that follows from them, each once: after a restart of control
// the same steps say the same.

import type { App } from "#api/apps.ts";
import { hasEnded } from "#api/builds.ts";
import { Fault, isFault } from "#api/fault.ts";
import type { Job } from "#api/jobs.ts";
import { causeChain } from "#lib/run.ts";
import { createWake } from "#lib/wake.ts";
import type { Context } from "../context.ts";
import { eventChanges, plainText } from "../events.ts";
import { keys } from "../keys.ts";
import type { HostRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import { logText, watchDeployment } from "./deploying.ts";
import { withLastWords } from "./last-words.ts";
import type { BuildParts, Clock, Look, Turn } from "./look.ts";
import { type Next, nextOf } from "./next.ts";
import { waitsFor } from "./queue.ts";
import { type BuildPlan, type BuildRecord, unendedBuilds } from "./record.ts";
import { releaseTurn } from "./release-turn.ts";
import { limitsOf } from "./spec.ts";
import { jobTurn, startTurn } from "./start.ts";
import { bang, detail, step } from "./words.ts";

const TICK_MS = 500;
const STORE_MOST_MS = 600_000;
const STOP_MOST_MS = 60_000;

export function buildDriver(context: Context, parts: BuildParts) {
  const { store, now, log: logger } = context;

  const write = async (
    { key, value, version }: Entry<BuildRecord>,
    { changed, more = [], expect = [], events = [] }: Turn,
  ) => {
    await store.commit({
      actor: "builder",
      expect: [{ key, version }, ...expect],
      mutations: [{ key, value: { ...value, ...changed } }, ...more, ...eventChanges(store, now(), ...events)],
    });
  };
  const say = async (entry: Entry<BuildRecord>, reason: string): Promise<boolean> => {
    if (plainText(reason) !== entry.value.reason) await write(entry, { changed: { reason: plainText(reason) } });
    return false;
  };
  const ending = (entry: Entry<BuildRecord>, state: "failed" | "cancelled", reason: string) =>
    write(entry, { changed: { ending: { state, reason: plainText(reason, 1_000) } } });

  /** Its job is told to end and is gone, or had its time to go: what comes after does not meet it on its host. */
  const jobIsOver = async ({ appId, jobId }: BuildRecord, clock: Clock): Promise<boolean> => {
    const found = jobId === undefined ? undefined : parts.tasks.get(appId, jobId);
    if (found === undefined || found.ended) return true;
    if (found.job.desired === "run") await parts.tasks.stop(appId, jobId!, "its build's end");
    return clock.since("stop") > STOP_MOST_MS;
  };

  const finish = async (entry: Entry<BuildRecord>, clock: Clock): Promise<boolean> => {
    const { value: build } = entry;
    const { state, reason } = build.ending!;
    if (!(await jobIsOver(build, clock))) return say(entry, state === "failed" ? reason : "its job is stopped");
    const log = parts.logs.of(build.appId, build.id);
    await log.writeOnce(bang(`Push rejected, ${reason}`));
    await end(entry, state, reason);
    return true;
  };

  const end = async (entry: Entry<BuildRecord>, state: "succeeded" | "failed" | "cancelled", reason: string) => {
    const { value: build } = entry;
    await write(entry, {
      changed: { state, reason, finishedAt: now().toISOString(), ending: undefined },
      events: [
        {
          type: `build.${state}`,
          subject: build.id,
          app: build.app,
          actor: "builder",
          message: `build ${build.number} of ${build.app} ${state === "cancelled" ? "was cancelled" : state}${reason ? `: ${reason}` : ""}`,
        },
      ],
    });
    await parts.files.dropSource(build.appId, build.id);
  };

  const onJob = async (entry: Entry<BuildRecord>, look: Look, clock: Clock): Promise<boolean> => {
    const { value: build } = entry;
    const found = parts.tasks.get(build.appId, build.jobId!);
    const job: Job | undefined = found?.job;
    const endedForMs = found?.ended ? clock.since(`ended ${build.jobId}`) : 0;
    const hostName = store.get<HostRecord>(keys.host(job?.hostId ?? build.hostId ?? "none"))?.value.name;
    const { timeoutMs } = limitsOf(look.plan);
    const standsForMs = clock.since(`${build.jobId} on ${job?.hostId ?? "no host"}`);
    const next: Next = nextOf({ build, job, hostName, timeoutMs, standsForMs, endedForMs });
    if (next.type === "wait") {
      if (next.reason !== "" && job?.hostId === undefined) await look.log.writeOnce(detail(`It ${next.reason}`));
      return say(entry, next.reason);
    }
    if (next.type === "building")
      await write(entry, {
        changed: {
          state: "building",
          reason: "",
          hostId: next.hostId,
          startedAt: job!.placedAt ?? now().toISOString(),
        },
      });
    else if (next.type === "store")
      await write(entry, { changed: { state: "storing", reason: "", builtAt: now().toISOString() } });
    else if (next.type === "again") {
      await look.log.writeOnce(bang(`The ${next.why}; the build begins again on another`));
      await write(entry, jobTurn(look));
    } else await ending(entry, "failed", withLastWords(next.reason, await logText(look)));
    return true;
  };

  /** One look; false when there is nothing to do until something changes. */
  const look = async (entry: Entry<BuildRecord>, clock: Clock, signal: AbortSignal): Promise<boolean> => {
    const { value: build } = entry;
    if (build.ending !== undefined) return finish(entry, clock);
    const app = store.get<App>(keys.app(build.appId));
    const plan = store.get<BuildPlan>(keys.buildPlan(build.appId, build.id))?.value;
    if (app === undefined || app.value.deleting) await ending(entry, "cancelled", "the app was deleted");
    else if (build.state !== "deploying" && build.cancel !== undefined)
      await ending(entry, "cancelled", `the build was cancelled by ${build.cancel}`);
    else if (plan === undefined) await ending(entry, "failed", "its settings are gone from control's state");
    else {
      const log = parts.logs.of(build.appId, build.id);
      const found: Look = { ...parts, context, build, plan, app, log, clock, signal };
      try {
        return await act(entry, found, clock);
      } catch (error) {
        // What is refused stays refused; what may pass is tried again, so long.
        if (!isFault(error) || !isFinal(error)) throw error;
        await ending(entry, "failed", causeChain(error)[0] ?? "");
      }
    }
    return true;
  };

  const act = async (entry: Entry<BuildRecord>, look: Look, clock: Clock): Promise<boolean> => {
    const { value: build } = entry;
    if (build.state === "deploying") {
      const seen = await watchDeployment(look);
      if (seen.type === "wait") return say(entry, seen.reason);
      if (seen.type === "live") await end(entry, "succeeded", "");
      else await ending(entry, seen.state, seen.reason);
      return true;
    }
    if (build.state === "storing") {
      try {
        const turn = await releaseTurn(look);
        await parts.admissions.get(build.id)?.().catch(notAdmitted);
        await write(entry, turn);
      } catch (error) {
        const mayPass = isFault(error, "unavailable") || isFault(error, "no-capacity");
        if (!mayPass || clock.since("store") < STORE_MOST_MS) throw error;
        await ending(entry, "failed", `the image could not be stored: ${causeChain(error).join(": ")}`);
      }
      return true;
    }
    if (build.jobId !== undefined) return onJob(entry, look, clock);
    const reason = waitsFor(build, unendedBuilds(store), context.config.buildsAtOnce);
    if (reason !== undefined) {
      await look.log.writeOnce(step(`This build ${reason}`));
      return say(entry, reason);
    }
    await write(entry, await startTurn(look));
    return true;
  };

  return {
    async drive(appId: string, id: string, signal: AbortSignal): Promise<void> {
      const clock = stopwatch();
      const woken = createWake();
      const stop = store.onDurable(({ mutations }) => {
        if (mutations.some(({ key }) => key.includes(appId) || key.startsWith("builds/"))) woken.ring();
      });
      try {
        while (!signal.aborted) {
          const entry = store.get<BuildRecord>(keys.build(appId, id));
          if (entry === undefined || hasEnded(entry.value)) return;
          try {
            if (await look(entry, clock, signal)) continue;
          } catch (error) {
            if (store.ended) throw error;
            if (!signal.aborted && !isFault(error, "precondition") && !isFault(error, "conflict"))
              logger.error({ buildId: id, causes: causeChain(error) }, "build step failed, trying again");
          }
          await woken.wait(TICK_MS, signal);
        }
      } finally {
        stop();
        parts.logs.close(id);
      }
    },
  };
}

/** Whoever made the build takes it back: final, whatever it was. */
function notAdmitted(cause: unknown): never {
  throw new Fault("forbidden", `nothing was deployed: ${causeChain(cause).join(": ")}`);
}

/** A refusal that another try cannot change. `precondition` is a record that moved on; `conflict` may be told of the app. */
const isFinal = ({ code, retry }: Fault): boolean => !retry && code !== "precondition" && code !== "internal";

function stopwatch(): Clock {
  const startedMs = new Map<string, number>();
  return {
    since(what) {
      const nowMs = performance.now();
      const started = startedMs.get(what) ?? nowMs;
      startedMs.set(what, started);
      return nowMs - started;
    },
    due(what, everyMs) {
      const nowMs = performance.now();
      if (nowMs < (startedMs.get(what) ?? 0)) return false;
      startedMs.set(what, nowMs + everyMs);
      return true;
    },
  };
}

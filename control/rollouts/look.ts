// What a rollout goes on from: its records, what is seen of its machines and of the apps on them, and times on the monotonic clock, which
// begin anew after a restart of control: that only ever waits longer.
import type { Alert } from "#api/alerts.ts";
import type { Profile } from "#api/boot.ts";
import { isEnded, type Job } from "#api/jobs.ts";
import type { Context } from "../context.ts";
import { keys, PREFIX } from "../keys.ts";
import { lifeOf } from "../machine-life/records.ts";
import { openOrderOf } from "../machine-orders/record.ts";
import { bmcOf, canCycle } from "../power/bmcs.ts";
import type { HostRecord, MachineRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import { actorOf, type RolloutMachineRecord, type RolloutRecord } from "./record.ts";
import type { Progress, RolloutMachineView, Seen } from "./step.ts";

export interface LookParts {
  /** No job is on that host, and none is on its way there. */
  isFree: (hostId: string) => boolean;
  /** Alerts that stand now. */
  alerts: () => readonly Alert[];
}

export interface RolloutClocks {
  /** Since this was first asked with the same text. */
  sinceMs(name: string, text: string): number;
}

export function rolloutClocks(nowMs: () => number): RolloutClocks {
  const since = new Map<string, { text: string; atMs: number }>();
  return {
    sinceMs(name, text) {
      const known = since.get(name);
      const from = known?.text === text ? known : { text, atMs: nowMs() };
      since.set(name, from);
      return nowMs() - from.atMs;
    },
  };
}

/** Restarts after which a job is taken to be broken, not unlucky. */
const CRASHES_MOST = 2;

export function progressOf(
  context: Context,
  rollout: RolloutRecord,
  machines: readonly Entry<RolloutMachineRecord>[],
  { parts, clocks }: { parts: LookParts; clocks: RolloutClocks },
): Progress {
  const { config } = context;
  const views = machines.map(({ value }) => viewOf(context, { rollout, record: value }, { parts, clocks }));
  const here = views.filter(({ state }) => state === "ready");
  const jobs = here.flatMap(({ id }) => jobsOf(context, machines, id));
  const broken = newAlert(rollout, parts.alerts()) ?? brokenJob(rollout, jobs);
  const unwell = unwellJob(rollout, jobs);
  const isWell =
    unwell === undefined &&
    here.every(({ seen }) => seen.ready) &&
    views.every(({ state, stage }) => stage > rollout.stage || (state !== "waiting" && !isOnTheWay(state)));
  const wellMs = clocks.sinceMs("well", isWell ? `${rollout.stage} well` : "not well");
  const moved = JSON.stringify([rollout.stage, rollout.state, views.map(({ state }) => state)]);
  return {
    state: rollout.state,
    imageId: rollout.subject.id,
    stage: rollout.stage,
    stages: rollout.stages.length,
    maxUnavailable: rollout.maxUnavailable,
    ...(rollout.goingBack ? { goingBack: rollout.goingBack } : {}),
    machines: views,
    broken,
    unwell,
    gateLeftMs: isWell ? Math.max(0, rollout.gateSeconds * 1_000 - wellMs) : Number.POSITIVE_INFINITY,
    gateSinceMs: clocks.sinceMs("moved", moved),
    gateMostMs: config.rolloutDrainMs + rollout.gateSeconds * 1_000,
    drainMostMs: config.rolloutDrainMs,
    bootMostMs: config.rolloutBootMs,
  };
}

const isOnTheWay = (state: RolloutMachineView["state"]) => state === "draining" || state === "rebooting";

function viewOf(
  context: Context,
  { rollout, record }: { rollout: RolloutRecord; record: RolloutMachineRecord },
  { parts, clocks }: { parts: LookParts; clocks: RolloutClocks },
): RolloutMachineView {
  const { store } = context;
  const { machineId, name, stage, state, hostId, fromImageId, endedBootId } = record;
  const machine = store.get<MachineRecord>(keys.machine(machineId))?.value;
  const host = store.get<HostRecord>(keys.host(hostId))?.value;
  const last = machine && lifeOf(store, machineId).boots.at(-1);
  const refused = machine?.fallback?.reason ?? (last?.refused ? last.seen : undefined);
  const order = openOrderOf(store, machineId)?.value;
  const away = host === undefined || host.state === "ready" ? undefined : `its host is ${host.state}`;
  const awayMs = clocks.sinceMs(`${machineId} away`, away ?? "here");
  const seen: Seen = {
    gone: machine === undefined || host === undefined || machine.hostId !== hostId,
    ready: host?.state === "ready" && machine?.state === "ready",
    drained: parts.isFree(hostId),
    imageId: machine?.imageId,
    bootedAnew: machine?.joinedBootId !== endedBootId,
    ...(refused === undefined ? {} : { refused }),
    ...(machine && host ? cannot(context, machine, host) : {}),
    ...(away === undefined ? {} : { away: { why: away, sinceMs: awayMs } }),
    // Its own, that switches it off and on, is a part of the rollout.
    ...(order === undefined || order.orderedBy === actorOf(rollout) ? {} : { busy: "an order to it is not over" }),
    mayCycle: record.cycledIn !== state && canCycle(bmcOf(store, machineId)) && order === undefined,
    sinceMs: clocks.sinceMs(machineId, record.cycledIn === state ? `${state} again` : state),
  };
  return { id: machineId, name, stage, state, fromImageId, seen };
}

/** Why this machine cannot be taken now, or has to be waited for. */
function cannot({ store, presence }: Context, machine: MachineRecord, host: HostRecord): Pick<Seen, "cannot" | "busy"> {
  const later = "it boots the image when it boots next";
  if (machine.target !== "boot") return { cannot: `its next boot is ${machine.target}` };
  const profile = store.get<Profile>(keys.profile(machine.profile))?.value;
  if (profile !== undefined && profile.image !== "current")
    return { cannot: `its profile ${profile.name} names an image of its own` };
  if (host.state !== "ready") return {}; // away: what its agent can is said when it is back
  const member = presence.members.get(host.id);
  if (member === undefined) return { busy: "its agent was not heard since control started" };
  if (!member.hello?.capabilities.includes("reboot"))
    return { cannot: `its agent is too old to be told to reboot; ${later}` };
  return {};
}

function jobsOf(context: Context, machines: readonly Entry<RolloutMachineRecord>[], machineId: string): Job[] {
  const hostId = machines.find(({ value }) => value.machineId === machineId)!.value.hostId;
  return context.jobs.onHost(hostId).filter((job) => job.task === undefined && job.desired === "run" && !isEnded(job));
}

function newAlert({ unwellBefore }: RolloutRecord, alerts: readonly Alert[]): string | undefined {
  const alert = alerts.find(({ subject }) => subject.kind === "app" && !unwellBefore.includes(subject.id));
  return alert && `a new alert: ${alert.what}`;
}

function brokenJob({ unwellBefore }: RolloutRecord, jobs: readonly Job[]): string | undefined {
  const job = jobs.find(
    ({ appId, state, restarts }) => state === "crashed" && restarts >= CRASHES_MOST && !unwellBefore.includes(appId),
  );
  return (
    job && `${job.process} of ${job.app} keeps crashing on it: ${job.reason || `exit code ${job.exitCode ?? "?"}`}`
  );
}

function unwellJob({ unwellBefore }: RolloutRecord, jobs: readonly Job[]): string | undefined {
  const job = jobs.find(({ appId, state }) => state !== "up" && !unwellBefore.includes(appId));
  return job && `waits for ${job.process} of ${job.app}, which is ${job.state}`;
}

/** Apps from which nothing is concluded: they were not well before. */
export function unwellApps({ store }: Pick<Context, "store">, alerts: readonly Alert[]): string[] {
  const alerted = alerts.flatMap(({ subject }) => (subject.kind === "app" ? subject.id : []));
  const unwell = store.list<Job>(PREFIX.jobs).flatMap(({ value: { state, desired, task, appId } }) => {
    const bad = (state === "crashed" || state === "unhealthy") && desired === "run";
    return bad && task === undefined ? appId : [];
  });
  return [...new Set([...alerted, ...unwell])].slice(0, 1_000);
}

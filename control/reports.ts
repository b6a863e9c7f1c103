// What follows from an agent's report: changes of jobs, of the host's own facts, and the boot steps it saw. A frame that
// changes nothing writes nothing.
import type { BootImage } from "#api/boot.ts";
import type { HostReport } from "#api/host-agents.ts";
import { isOver, type Job, type JobReport } from "#api/jobs.ts";
import { newId } from "#lib/ids.ts";
import type { Context } from "./context.ts";
import { eventChanges, type NewEvent, plainText, timelineChanges } from "./events.ts";
import { isInSubnet } from "./identity/subnets.ts";
import { keys } from "./keys.ts";
import type { MachineLife } from "./machine-life/life.ts";
import { architectureOf, lifeOf, readyWith } from "./machine-life/records.ts";
import { openOrderOf } from "./machine-orders/record.ts";
import { isSameList } from "./network/reach.ts";
import type { HostRecord, MachineRecord } from "./records.ts";
import type { Change } from "./store/store.ts";

/** The job as the report leaves it, or undefined when nothing changed. Pure. */
export function jobAfter(job: Job, report: JobReport, at: string): Job | undefined {
  if (isOver(job)) return undefined;
  if (isSaid(job, report)) return undefined;
  const reason = plainText(report.reason);
  const { nextStartAt: _, endedAt: __, ...rest } = job;
  const changed: Job = {
    ...rest,
    state: report.state,
    reason: isToldToEnd(job) && (report.state !== "down" || reason === "") ? job.reason : reason,
    restarts: report.restarts,
    ...(report.address === undefined ? {} : { address: report.address }),
    ...(report.exitCode === undefined ? {} : { exitCode: report.exitCode }),
    ...(report.startedAt === undefined ? {} : { startedAt: report.startedAt }),
    ...(report.upAt === undefined ? {} : { upAt: report.upAt }),
    ...(report.nextStartAt === undefined ? {} : { nextStartAt: report.nextStartAt }),
    ...(report.state === "down" ? { endedAt: at } : {}),
  };
  const fields = ["state", "reason", "restarts", "address", "exitCode", "startedAt", "upAt", "nextStartAt"] as const;
  return fields.some((field) => changed[field] !== job[field]) ? changed : undefined;
}

/** The report says what the record has: most do, thousands a second. */
const isSaid = (job: Job, report: JobReport): boolean =>
  report.state !== "down" &&
  job.endedAt === undefined &&
  job.nextStartAt === report.nextStartAt &&
  job.state === report.state &&
  job.reason === report.reason &&
  job.restarts === report.restarts &&
  job.startedAt === (report.startedAt ?? job.startedAt) &&
  job.upAt === (report.upAt ?? job.upAt) &&
  job.address === (report.address ?? job.address) &&
  job.exitCode === (report.exitCode ?? job.exitCode);

/** Who or what ends a job that runs once is said by control, and stays said unless its host knows of another end. */
const isToldToEnd = ({ task, desired, reason }: Job): boolean =>
  task !== undefined && desired !== "run" && reason !== "";

/** The host as the report leaves it, or undefined when nothing changed. Lost and ready are decided here on evidence only. Pure. */
export function hostAfter(host: HostRecord, { facts, engine, space }: HostReport): HostRecord | undefined {
  const state = engine.healthy ? "ready" : "unhealthy";
  const reason = engine.healthy ? "" : plainText(engine.reason);
  const { shortOf: _, ...kept } = host;
  const [shortOf] = space?.pressure ?? [];
  const changed: HostRecord = {
    ...kept,
    ...(shortOf === undefined ? {} : { shortOf }),
    state,
    reason,
    capacity: facts.capacity,
    architecture: facts.architecture,
    agentVersion: facts.agentVersion,
    bootId: facts.bootId,
    ...(facts.address ? { address: facts.address } : {}),
    ...(facts.addresses && !isSameList(facts.addresses, host.addresses ?? []) ? { addresses: facts.addresses } : {}),
    ...(engine.version ? { engineVersion: engine.version } : {}),
  };
  const { capacity: a, ...rest } = changed;
  const { capacity: b, ...before } = host;
  const roomChanged =
    Math.abs(a.memoryBytes - b.memoryBytes) > 64 * 1024 ** 2 ||
    a.cpuMillis !== b.cpuMillis ||
    Math.abs(a.diskBytes - b.diskBytes) > 256 * 1024 ** 2;
  if (!roomChanged) changed.capacity = host.capacity;
  const same = Object.keys({ ...before, ...rest }).every(
    (field) => rest[field as keyof typeof rest] === before[field as keyof typeof before],
  );
  return same && !roomChanged ? undefined : changed;
}

/** The report without an address outside the host's own subnet: no host may point routes at another's jobs. */
function ownAddress(report: JobReport, subnet: string): JobReport {
  if (report.address === undefined || isInSubnet(subnet, report.address)) return report;
  const { address: _, ...rest } = report;
  return rest;
}

/**
 * Takes the report in, and says whether it changed anything. Everything is read and committed in one turn, without a pause: no other
 * commit can come in between, so a report is never refused for what it was based on.
 */
export async function acceptReport(context: Context, hostId: string, report: HostReport): Promise<boolean> {
  const { store, jobs, now } = context;
  const entry = store.get<HostRecord>(keys.host(hostId));
  if (entry === undefined) return true;
  const at = now();
  const changes: Change[] = [];
  const expect: { key: string; version: number }[] = [];
  const events: NewEvent[] = [];
  for (const jobReport of report.jobs) {
    const indexed = jobs.get(jobReport.id);
    const current = indexed && store.get<Job>(keys.job(indexed.appId, indexed.id));
    if (current === undefined || current.value.hostId !== hostId) continue;
    const next = jobAfter(current.value, ownAddress(jobReport, entry.value.subnet), at.toISOString());
    if (next === undefined) continue;
    changes.push({ key: current.key, value: next });
    expect.push({ key: current.key, version: current.version });
    if (next.state !== current.value.state) events.push(jobEvent(next, current.value));
  }
  const host = hostAfter(entry.value, report);
  if (host) {
    changes.push({ key: entry.key, value: host });
    expect.push({ key: entry.key, version: entry.version });
    if (host.shortOf !== entry.value.shortOf)
      events.push({
        type: "host.pressure",
        subject: hostId,
        actor: host.name,
        message:
          host.shortOf === undefined
            ? `host ${host.name} is under pressure no longer and takes new jobs again`
            : `host ${host.name} is short of ${host.shortOf}: no new jobs are placed there; what runs goes on`,
      });
    if (host.state !== entry.value.state)
      events.push({
        type: `host.${host.state}`,
        subject: hostId,
        actor: host.name,
        message: `host ${host.name} is ${host.state}${host.reason ? `: ${host.reason}` : ""}`,
      });
  }
  changes.push(...machineChanges(context, entry.value, report, changes, at));
  if (changes.length === 0) return false;
  await store.commit({
    actor: `host ${entry.value.name}`,
    expect,
    mutations: [...changes, ...eventChanges(store, at, ...events)],
  });
  return true;
}

function jobEvent(job: Job, before: Job): NewEvent {
  return {
    type: `job.${job.state}`,
    subject: job.id,
    app: job.app,
    actor: "hostd",
    message: `${job.process} ${job.id}: ${before.state} -> ${job.state}${exitOf(job)}${job.reason ? ` (${job.reason})` : ""}`,
  };
}

const exitOf = ({ task, state, exitCode }: Job): string =>
  task !== undefined && state === "down" && exitCode !== undefined ? `, exit ${exitCode}` : "";

/** The machine's side: ready on the agent's evidence, and on its timeline what the agent and its first job of this boot did. */
function machineChanges(
  { store }: Context,
  { machineId, name, bootId: hostBootId }: HostRecord,
  report: HostReport,
  changes: readonly Change[],
  at: Date,
): Change[] {
  const { healthy, version } = report.engine;
  const known = machineId === undefined ? undefined : store.get<MachineRecord>(keys.machine(machineId))?.value;
  if (known === undefined) return [];
  const ownImage = ownImageOf(store, known, report);
  const anew = bootedAnew(
    known,
    { name, bootId: hostBootId, ran: () => lifeOf(store, known.id).ran, ownImage },
    report,
    at,
  );
  const { machine } = anew;
  // A frame that says nothing new of this boot ends here: the timeline is not read every two seconds per host.
  if (changes.length === 0 && !report.events?.length && (isAsSeen(machine, store) || !healthy)) return [];
  const seen = new Set(
    store
      .list<{ stage: string; bootId?: string }>(`${keys.timelineOf(machine.id)}`)
      .filter(({ value }) => value.bootId === machine.bootId)
      .map(({ value }) => value.stage),
  );
  // That a host is ready is said here, on evidence, once; the agent's own word for it is not repeated.
  const steps: Parameters<typeof timelineChanges>[3] = [...anew.steps];
  const own = (report.events ?? [])
    .filter(({ stage, level }) => stage !== "ready" || level !== "info")
    .map(({ code, ...event }) => ({
      ...event,
      bootId: machine.bootId,
      ...(code === undefined ? {} : { detail: { code } }),
    }));
  steps.push(...own);
  if (healthy && !seen.has("ready"))
    steps.push({
      stage: "ready",
      bootId: machine.bootId,
      message: `host ${name} is ready for jobs (${version ? `Docker ${version}` : "engine up"})`,
    });
  const up = changes
    .map(({ value }) => value as Job | HostRecord | null)
    .find((value): value is Job => value !== null && "process" in value && value.state === "up");
  if (up && !seen.has("job-up"))
    steps.push({
      stage: "job-up",
      bootId: machine.bootId,
      message: `first job up: ${up.app} ${up.process} ${up.id} at ${up.address}:${up.port}`,
    });
  const result: Change[] = steps.length === 0 ? [] : timelineChanges(store, at, machine.id, steps);
  if (healthy && (machine !== known || !isAsSeen(machine, store))) {
    const { machine: ready, changes: life } = readyWith(store, machine, report.facts.bootId, {
      hasProven: ownImage !== "unknown",
    });
    const value: MachineRecord = { ...ready, state: "ready", lastSeenAt: at.toISOString() };
    result.push({ key: keys.machine(machine.id), value }, ...life);
  } else if (machine !== known) result.push({ key: keys.machine(machine.id), value: machine });
  return result;
}

/** What a host says that it booted from its own disk is its word alone: an image is one that control has, of the machine's architecture. */
function ownImageOf(
  store: Context["store"],
  machine: MachineRecord,
  { facts: { slot } }: HostReport,
): "none" | "known" | "unknown" {
  if (slot === undefined) return "none";
  const image = store.get<Pick<BootImage, "architecture">>(keys.bootImage(slot.imageId))?.value;
  return image?.architecture === architectureOf(machine) ? "known" : "unknown";
}

/**
 * Its host has an identity from before, so that no join says that it booted: the report of another boot of its kernel does. A boot from the
 * network was seen by the boot server; one from its own disk was seen by nobody, and begins here.
 */
function bootedAnew(
  machine: MachineRecord,
  host: {
    name: string;
    bootId: string | undefined;
    ran: () => MachineLife["ran"];
    ownImage: ReturnType<typeof ownImageOf>;
  },
  { facts }: HostReport,
  at: Date,
): { machine: MachineRecord; steps: Parameters<typeof timelineChanges>[3] } {
  const isOther = host.bootId !== undefined && host.bootId !== facts.bootId;
  const { slot } = facts;
  if (slot === undefined) {
    const { bootId: seen, joinedBootId } = machine;
    if (host.bootId === undefined || seen === undefined || seen === joinedBootId) return { machine, steps: [] };
    const ran = host.ran();
    // The boot server may tell of it after its host did.
    const isLate = ran !== undefined && ran.kernelId !== facts.bootId && ran.bootId !== seen;
    return { machine: isOther || isLate ? { ...machine, joinedBootId: seen } : machine, steps: [] };
  }
  if (!isOther) return { machine, steps: [] };
  const bootId = newId("boot", at.getTime());
  const isUnknown = host.ownImage === "unknown";
  const from = `host ${host.name} is back: it booted from its own disk, slot ${slot.slot.toUpperCase()}`;
  const message = isUnknown
    ? `${from}, and says with image ${plainText(slot.imageId, 128)}, which is none of this cluster for ${architectureOf(machine)}: that is not counted`
    : `${from} with image ${slot.imageId}`;
  return {
    machine: {
      ...machine,
      state: machine.state === "erasing" ? "erasing" : "booting",
      ...{ bootId, joinedBootId: bootId },
      ...(isUnknown ? {} : { imageId: slot.imageId }),
    },
    steps: [
      {
        stage: "join",
        bootId,
        message,
        detail: { slot: slot.slot, ...(isUnknown ? {} : { imageId: slot.imageId }) },
        ...(isUnknown ? { level: "warning" as const } : {}),
      },
    ],
  };
}

/** A host that reports is ready; or its disks are being wiped, which it does itself. */
const isAsSeen = ({ id, state }: MachineRecord, store: Context["store"]): boolean =>
  state === "ready" || (state === "erasing" && openOrderOf(store, id)?.value.kind === "wipe");

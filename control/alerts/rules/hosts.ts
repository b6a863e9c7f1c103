// Alerts of hosts, of the machines below them and of routers.
import { formatDuration } from "#lib/units.ts";
import { clockOff } from "../../clock.ts";
import type { MachineRecord } from "../../records.ts";
import type { AlertRule, WantedAlert } from "../rule.ts";

const subjectOf = ({ id, name }: { id: string; name: string }): WantedAlert["subject"] => ({ kind: "host", id, name });

export const hostLost: AlertRule = {
  kind: "host-lost",
  raiseAfterMs: 0, // it was silent for the whole time to live already
  clearAfterMs: 30_000,
  all: "flynn host list",
  wanted: ({ hosts, brake }) =>
    hosts
      // One that was told to boot anew is silent while it does; whoever told it says when it takes too long.
      .filter(({ state, reboot }) => state === "lost" && reboot === undefined)
      .map((host) => ({
        subject: subjectOf(host),
        severity: "critical",
        what: `host ${host.name} is lost`,
        why: `${host.reason || "it does not report"}; ${brake.on ? "its jobs are left alone while the brake is on" : "its jobs are started on other hosts"}. It comes back by itself when it reports again; one that is gone for good: flynn host remove ${host.name}`,
        next: host.machineId === undefined ? `flynn host show ${host.name}` : `flynn machine explain ${host.machineId}`,
      })),
};

export const hostUnhealthy: AlertRule = {
  kind: "host-unhealthy",
  raiseAfterMs: 15_000,
  clearAfterMs: 30_000,
  all: "flynn host list",
  wanted: ({ hosts }) =>
    hosts
      .filter(({ state }) => state === "unhealthy")
      .map((host) => ({
        subject: subjectOf(host),
        severity: "critical",
        what: `host ${host.name} cannot run jobs`,
        why: `${host.reason || "its container engine does not work"}; nothing new is placed there`,
        next: `flynn host show ${host.name}`,
      })),
};

export const quarantine: AlertRule = {
  kind: "quarantine",
  raiseAfterMs: 0,
  clearAfterMs: 10_000,
  rewordAfterMs: 5_000, // hosts are heard one after the other, and a person decides on what it says
  all: "flynn alerts",
  wanted: ({ reports, quarantineDecision }) => {
    const found = [...reports.values()].flatMap(({ report }) => report.quarantined ?? []);
    if (found.length === 0) return [];
    const apps = [...new Set(found.map(({ app }) => app))].sort();
    const named = apps.length > 10 ? `${apps.slice(0, 10).join(", ")} and ${apps.length - 10} more` : apps.join(", ");
    const subject = { kind: "cluster", id: "cluster", name: "cluster" } as const;
    const what = `${found.length === 1 ? "1 container runs" : `${found.length} containers run`} that the restored state does not know`;
    if (quarantineDecision === "keep")
      return [
        {
          subject,
          severity: "warning",
          what: `${what}, and are kept`,
          why: `it was decided that they run on: they are of apps ${named}. End them when those are deployed again`,
          next: "flynn quarantine end",
        },
      ];
    if (quarantineDecision === "end")
      return [
        {
          subject,
          severity: "warning",
          what: `${what}, and are being ended`,
          why: `it was decided that they end, each with its time to stop: they are of apps ${named}. This goes by itself; a host that is lost ends its own when it is back`,
          next: "flynn host list",
        },
      ];
    return [
      {
        subject,
        severity: "critical",
        what,
        why: `they were started after what the state is of, by apps ${named}. Ten minutes after their host heard of the restore they are ended. Keep them until all is deployed again, or end them now: flynn quarantine end`,
        next: "flynn quarantine keep",
      },
    ];
  },
};

export const hostPressure: AlertRule = {
  kind: "host-pressure",
  raiseAfterMs: 15_000,
  clearAfterMs: 60_000,
  all: "flynn host list",
  wanted: ({ hosts }) =>
    hosts
      .filter(({ shortOf, state }) => shortOf !== undefined && state !== "lost")
      .map((host) => ({
        subject: subjectOf(host),
        severity: "warning",
        what: `host ${host.name} is short of ${host.shortOf}`,
        why: `less is free than is kept for its agent and Docker: no new jobs are placed there, and the job that grew most may be ended. To move its jobs away: flynn host drain ${host.name}`,
        next: `flynn host show ${host.name}`,
      })),
};

/** From here on certificates made a moment ago are not good there, or good for too long. */
const CLOCK_CRITICAL_MS = 300_000;

export const clockIsOff: AlertRule = {
  kind: "clock-off",
  raiseAfterMs: 30_000,
  clearAfterMs: 60_000,
  all: "flynn host list",
  wanted: ({ hosts, reports }) =>
    hosts.flatMap((host): WantedAlert[] => {
      const seen = reports.get(host.id);
      const offMs = seen === undefined || host.state === "lost" ? undefined : clockOff(seen.report.now, seen.at);
      if (offMs === undefined) return [];
      return [
        {
          subject: subjectOf(host),
          severity: Math.abs(offMs) >= CLOCK_CRITICAL_MS ? "critical" : "warning",
          what: `the clock of host ${host.name} is ${aboutTime(Math.abs(offMs))} ${offMs > 0 ? "ahead of" : "behind"} control's`,
          why: "times in its logs are wrong, and certificates are refused too early or too late. Make its time service run (chrony or systemd-timesyncd) and let it reach a server; if most hosts are off, it is the appliance's own clock",
          next: `flynn host show ${host.name}`,
        },
      ];
    }),
};

/** Rounded, so that words do not change with every report. */
const aboutTime = (ms: number): string => {
  if (ms < 10_000) return "some seconds";
  const stepMs = ms < 120_000 ? 10_000 : 60_000;
  return formatDuration(Math.round(ms / stepMs) * stepMs).replace(/\.\d+s$/, "s");
};

export const brake: AlertRule = {
  kind: "brake",
  raiseAfterMs: 0,
  clearAfterMs: 30_000,
  all: "flynn host list",
  wanted: (view) =>
    view.brake.on
      ? [
          {
            subject: { kind: "cluster", id: "cluster", name: "cluster" },
            severity: "critical",
            what: "many hosts were lost together, and their jobs are left alone",
            why: "it is likelier that the appliance is cut off than that they all died: look at its network first. Hosts that stay silent are given up slowly later",
            next: "flynn host list",
          },
        ]
      : [],
};

const ROUTER_SILENT_MS = 20_000;

export const routerDown: AlertRule = {
  kind: "router-down",
  raiseAfterMs: 15_000,
  clearAfterMs: 30_000,
  all: "flynn router list",
  wanted: ({ routers }) =>
    routers
      .filter(({ silentMs, healthy }) => silentMs > ROUTER_SILENT_MS || !healthy)
      .map(({ id, name, silentMs, reason }) => ({
        subject: { kind: "router", id, name },
        severity: "critical",
        what: `router ${name} ${silentMs > ROUTER_SILENT_MS ? "is silent" : "is not well"}`,
        why:
          silentMs > ROUTER_SILENT_MS
            ? `it does not report. What it serves goes on as it was, and no change of routes reaches it. One that is gone for good: flynn router remove ${id}`
            : `${reason || "it gives no reason"}; changes of routes may not be served`,
        next: "flynn router list",
      })),
};

const ROUTER_BEHIND_MS = 60_000;
/** It reports every 2 s: one that takes changes has taken one by then. */
const ROUTER_PROGRESS_MS = 15_000;

export const routerBehind: AlertRule = {
  kind: "router-behind",
  raiseAfterMs: ROUTER_BEHIND_MS,
  clearAfterMs: 30_000,
  all: "flynn router list",
  wanted: ({ routers }) =>
    routers
      .filter(({ silentMs, behindMs = 0 }) => silentMs <= ROUTER_SILENT_MS && behindMs > ROUTER_PROGRESS_MS)
      .map(({ id, name }) => ({
        subject: { kind: "router", id, name },
        severity: "critical",
        what: `router ${name} serves an old state`,
        why: `it reports, but has not taken any change of routes for more than ${formatDuration(ROUTER_BEHIND_MS)}. Deployments wait for it, and jobs that are replaced run on until it has let go of them. Its log says why; one that is gone for good: flynn router remove ${id}`,
        next: "flynn router list",
      })),
};

export const machineWaits: AlertRule = {
  kind: "machine-waits",
  raiseAfterMs: 0,
  clearAfterMs: 0,
  all: "flynn machine list",
  wanted: ({ machines }) =>
    machines.flatMap((machine) => (machine.pending === undefined ? [] : waiting(machine, machine.pending))),
};

function waiting({ id, name }: MachineRecord, { reason, at }: NonNullable<MachineRecord["pending"]>): WantedAlert {
  return {
    subject: { kind: "machine", id, name },
    severity: "warning",
    what: `machine ${name} waits for a decision`,
    why: reason,
    next: `flynn machine show ${name}`,
    since: at,
  };
}

export const machineFellBack: AlertRule = {
  kind: "machine-fell-back",
  raiseAfterMs: 0, // so many boots were counted already
  clearAfterMs: 0,
  all: "flynn machine list",
  wanted: ({ machines }) =>
    // One that has the rescue prompt is `failed`, of which another alert tells.
    machines.flatMap(({ id, name, fallback }): WantedAlert[] => {
      if (fallback === undefined || fallback.stage === "rescue") return [];
      const { imageId, reason, at } = fallback;
      const boots = imageId === undefined ? "goes on trying" : `boots ${imageId} instead`;
      return [
        {
          subject: { kind: "machine", id, name },
          severity: "warning",
          what: `machine ${name} ${boots}`,
          why: `${reason}. When the cause is gone, let it try again: flynn machine approve ${name}`,
          next: `flynn machine explain ${name}`,
          since: at,
        },
      ];
    }),
};

// Alerts of the appliance itself.
import { formatSize } from "#lib/units.ts";
import type { AlertRule, WantedAlert } from "../rule.ts";

const subject: WantedAlert["subject"] = { kind: "control", id: "control", name: "control" };

export const diskLow: AlertRule = {
  kind: "disk-low",
  raiseAfterMs: 10_000,
  clearAfterMs: 30_000,
  all: "flynn status",
  wanted: ({ disk }) =>
    disk === undefined
      ? undefined
      : disk.low
        ? [
            {
              subject,
              severity: "critical",
              what: "the appliance's disk is nearly full",
              why: `less than ${formatSize(disk.floorBytes)} or too few inodes are free on ${disk.path}: uploads and pushes are refused, what runs goes on. Delete apps that nobody needs, or give it a larger disk`,
              next: "flynn apps",
            },
          ]
        : [],
};

export const writesPaused: AlertRule = {
  kind: "writes-paused",
  raiseAfterMs: 0,
  clearAfterMs: 10_000,
  all: "flynn status",
  wanted: ({ pausedWrites }) =>
    pausedWrites === undefined
      ? []
      : [
          {
            subject,
            severity: "critical",
            what: "the appliance's state cannot be written",
            why: `${pausedWrites}; what runs goes on and can be read, changes are refused until writing works again by itself. Free space on the appliance's disk, or give it a larger one`,
            next: "flynn status",
          },
        ],
};

const SLOW_WRITE_MS = 1_000;

export const diskSlow: AlertRule = {
  kind: "disk-slow",
  raiseAfterMs: 10_000,
  clearAfterMs: 60_000,
  all: "flynn status",
  wanted: ({ worstWriteMs }) =>
    worstWriteMs < SLOW_WRITE_MS
      ? []
      : [
          {
            subject,
            severity: "warning",
            what: "the appliance's disk is slow",
            why: "writes of the state take longer than a second, and every change waits for them. Look at what else uses that disk, and at its health",
            next: "flynn status",
          },
        ],
};

export const registryDown: AlertRule = {
  kind: "registry-down",
  raiseAfterMs: 30_000,
  clearAfterMs: 30_000,
  all: "flynn status",
  wanted: ({ registryProblem }) =>
    registryProblem === undefined
      ? []
      : [
          {
            subject,
            severity: "critical",
            what: "the image registry does not answer",
            why: `${registryProblem}; nothing new can be built, deployed or started on a host that lacks its image`,
            next: "flynn status",
          },
        ],
};

export const snapshotFailing: AlertRule = {
  kind: "snapshot-failing",
  raiseAfterMs: 0,
  clearAfterMs: 0,
  all: "flynn status",
  wanted: ({ snapshotProblem }) =>
    snapshotProblem === undefined
      ? []
      : [
          {
            subject,
            severity: "warning",
            what: "no snapshot of the appliance's state can be taken",
            why: `${snapshotProblem}; nothing is lost, but the journal grows, and a damaged database takes longer to make whole. Write a backup to another disk meanwhile`,
            next: "flynn cluster backup /root/flynn-backup",
          },
        ],
};

export const backupFailing: AlertRule = {
  kind: "backup-failing",
  raiseAfterMs: 0,
  clearAfterMs: 0,
  all: "flynn status",
  wanted: ({ lastBackup }) => {
    if (lastBackup === undefined) return undefined;
    if (lastBackup?.problem === undefined) return [];
    const { at, out, problem } = lastBackup;
    return [
      {
        subject,
        since: at,
        severity: "warning",
        what: "the last backup of the appliance's state failed",
        why: `${out} was not written: ${problem}. What changed since the backup before is in no other place`,
        next: "flynn cluster backup /root/flynn-backup",
      },
    ];
  },
};

/** One failure is its own remedy: it begins anew a second later. */
const AGAIN_AND_AGAIN = 3;

export const loopFailing: AlertRule = {
  kind: "loop-failing",
  raiseAfterMs: 0,
  clearAfterMs: 10_000,
  all: "flynn status",
  wanted: ({ failingLoops }) =>
    failingLoops
      .filter(({ times }) => times >= AGAIN_AND_AGAIN)
      .map(({ name, reason, times }) => ({
        subject: { ...subject, id: `loop ${name}` },
        severity: "critical",
        what: `a part of control fails again and again: ${name}`,
        why: `${times} times in a row, last: ${reason}. What it does is not done meanwhile; the other parts and what runs go on, and it begins anew at most a minute after each end. The log of control on the appliance has the whole error`,
        next: "flynn status",
      })),
};

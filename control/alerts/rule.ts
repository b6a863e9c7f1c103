// What a rule is: from a view of the cluster to the alerts that should stand now. Pure. To add a kind: its name in api/alerts.ts,
// what it looks at in view.ts, and one value in the table of rules.ts.

import type { Alert, AlertKind } from "#api/alerts.ts";
import type { Certificate } from "#api/certificates.ts";
import type { RogueDhcpServer } from "#api/dhcp-servers.ts";
import type { HostReport } from "#api/host-agents.ts";
import type { Job } from "#api/jobs.ts";
import type { Quarantine } from "#api/quarantine.ts";
import type { DiskState } from "../disk/floor.ts";
import type { LastBackup } from "../last-backup.ts";
import type { FailingLoop } from "../loops.ts";
import type { HostRecord, MachineRecord } from "../records.ts";
import type { BrakeStatus } from "../scheduler/liveness.ts";

/** An alert that should stand; `since` when the condition is known to be older than its first sighting. */
export type WantedAlert = Pick<Alert, "subject" | "severity" | "what" | "why" | "next"> & { since?: string };

export interface AlertRule {
  kind: AlertKind;
  /** How long the condition must hold without a pause before it is raised. */
  raiseAfterMs: number;
  /** How long it must be gone without a pause before it is cleared. */
  clearAfterMs: number;
  /** How long its words stand at least before others take their place at the same severity; without it, a minute. */
  rewordAfterMs?: number;
  /** Command that lists everything of this kind, for when there are too many to raise each. */
  all: string;
  /** Undefined: it cannot be known now, and what stands goes on to stand. */
  wanted: (view: AlertView) => WantedAlert[] | undefined;
}

export interface CertificateLife {
  /** Unique within its kind: a member's id. */
  id: string;
  name: string;
  /** What shows it. */
  of: "host" | "router" | "boot-server" | "control";
  notBefore: string;
  notAfter: string;
}

/** All that rules look at, of one moment. */
export interface AlertView {
  /** Wall clock, for dates in certificates only. */
  nowMs: number;
  hosts: readonly HostRecord[];
  /** Last report of each host that has reported to this control. */
  reports: ReadonlyMap<string, { at: string; report: HostReport }>;
  routers: readonly RouterView[];
  machines: readonly MachineRecord[];
  /** Machines whose BMC is set with the user and password that it left its factory with. */
  factoryBmcs: readonly { machineId: string; address: string; user: string }[];
  /** Other DHCP servers that should not be there, by boot server; undefined of one that has not said yet. */
  lans: readonly { id: string; name: string; servers: readonly RogueDhcpServer[] | undefined }[];
  certificates: readonly Pick<Certificate, "id" | "names" | "notBefore" | "notAfter">[];
  /** Of members that were heard, and control's own. */
  ownCertificates: readonly CertificateLife[];
  /** Jobs that were started again at least once and have not ended. */
  restarted: readonly Job[];
  /** Apps of those that have an earlier release to go back to. */
  canGoBack: ReadonlySet<string>;
  /** What was decided on containers that a restored state does not know; undefined: nothing yet. */
  quarantineDecision: Quarantine["decision"];
  brake: BrakeStatus;
  /** Undefined: cannot be read. */
  disk: DiskState | undefined;
  /** Why changes of the state are refused; undefined while they are taken. */
  pausedWrites: string | undefined;
  /** The longest that a write of the state took lately, in milliseconds. */
  worstWriteMs: number;
  /** Why the registry does not answer; undefined when it does. */
  registryProblem: string | undefined;
  /** Control's own loops that ended, most often with an error, and began anew lately. */
  failingLoops: readonly FailingLoop[];
  /** Apps whose jobs the scheduler cannot decide on. */
  failingApps: readonly { id: string; name: string; reason: string }[];
  /** Why the last snapshot of the state failed; undefined when it did not. */
  snapshotProblem: string | undefined;
  /** Null: none was ever tried here. Undefined: cannot be read. */
  lastBackup: LastBackup | null | undefined;
}

export interface RouterView {
  id: string;
  name: string;
  /** Since its last report, or since control started when it has not reported yet. */
  silentMs: number;
  healthy: boolean;
  reason: string;
  /** It serves an older state than there is: for so long without any progress. Undefined: it serves the newest. */
  behindMs?: number;
}

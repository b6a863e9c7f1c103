// What HAProxy should have, worked out from a target and what it has so far: slots and ports, maps, and the certificates that it takes.
import type { RouterTarget } from "#api/router-agents.ts";
import { newMemo } from "./accept.ts";
import { type Assigned, assignment } from "./assign.ts";
import type { Assignment } from "./assignment.ts";
import { type CertificateFiles, certificateReader, withoutRejected } from "./certificates.ts";
import { noMaps } from "./maps.ts";
import { findBusyPorts, portProblem } from "./ports.ts";
import { inSlices } from "./slices.ts";

export interface Held extends Assigned {
  certificates: CertificateFiles;
}
export const holdsNothing = (): Held => ({
  assignment: { backends: [] },
  maps: noMaps(),
  certificates: new Map(),
  refused: [],
});

export interface PlannerOptions {
  httpPort: number;
  httpsPort?: number | undefined;
  /** Room at the first start. */
  backends: number;
  slots: number;
  /** Whether nobody listens on that port here. */
  isFree: (port: number) => Promise<boolean>;
  /** Ports that HAProxy itself has now. */
  listening: () => ReadonlySet<number>;
}

export interface Planner {
  /** `sessions`: open requests by slot; one that is not in it may have some. */
  plan(target: RouterTarget, current: Assignment, sessions: ReadonlyMap<string, number>): Promise<Held>;
  /** What is held without a file that HAProxy does not take, which is left out from now on. */
  reject(held: Held, file: string, why: string): Held;
  /** Pools that were given slots, and certificates that were parsed, so far. */
  placed(): number;
  parsed(): number;
}

const NO_FILES: CertificateFiles = new Map();

export function createPlanner(options: PlannerOptions): Planner {
  const { httpPort, httpsPort, backends, slots, isFree, listening } = options;
  const own = new Set<number | undefined>([httpPort, httpsPort]);
  const reader = certificateReader();
  const memo = newMemo();
  /** File -> why HAProxy did not take it. */
  const rejected = new Map<string, string>();

  return {
    async plan(target, current, sessions) {
      const ports = { target, assignment: current, listening: listening(), own, isFree };
      const busyPorts = await findBusyPorts(ports);
      const rule = assignment(current, target, {
        isBusy: (slot) => sessions.get(slot) !== 0,
        portProblem: (port) => portProblem(port, own, busyPorts),
        backends,
        slots,
        memo,
      });
      const next = await inSlices(rule);
      const hasHttps = httpsPort !== undefined;
      const certificates = hasHttps ? await inSlices(reader.accept(target.certificates, next.refused)) : NO_FILES;
      for (const file of rejected.keys()) if (!certificates.has(file)) rejected.delete(file);
      return withoutRejected({ ...next, certificates }, rejected);
    },
    reject(held, file, why) {
      rejected.set(file, why);
      return withoutRejected(held, rejected);
    },
    placed: () => memo.placed,
    parsed: () => reader.parsed(),
  };
}

// TCP ports that cannot be listened on, or not yet, and why.
import type { RouterTarget } from "#api/router-agents.ts";
import { sparePorts } from "./accept.ts";
import type { Assignment, Refusal } from "./assignment.ts";
import { type OldWorkers, waitReason } from "./reload.ts";

export interface PortsOptions {
  target: Pick<RouterTarget, "tcp" | "tcpPorts">;
  assignment: Assignment;
  listening: ReadonlySet<number>;
  /** Of HTTP and HTTPS. */
  own: ReadonlySet<number | undefined>;
  isFree: (port: number) => Promise<boolean>;
}

/** Ports asked for that HAProxy does not have yet, and that something else here has: a reload would fail for all. */
export async function findBusyPorts({
  target,
  assignment,
  listening,
  own,
  isFree,
}: PortsOptions): Promise<Set<number>> {
  const ours = new Set([...listening, ...(assignment.tcp ?? []).map(({ port }) => port)]);
  const asked = [...(target.tcp ?? []).map(({ port }) => port), ...sparePorts(target, assignment)];
  const busy = new Set<number>();
  for (const port of asked) {
    if (ours.has(port) || own.has(port)) continue;
    if (!(await isFree(port).catch(() => false))) busy.add(port);
  }
  return busy;
}

/** Why nothing can listen there; undefined when something can. */
export function portProblem(port: number, own: ReadonlySet<number | undefined>, busy: ReadonlySet<number>) {
  if (own.has(port)) return "the router itself listens there";
  return busy.has(port) ? "another program on the router's machine has it" : undefined;
}

/** Ports that open with a reload which is put off by so many milliseconds. */
export function portsInWait(
  assignment: Assignment,
  { listening, old, waitMs }: { listening: ReadonlySet<number>; old: OldWorkers; waitMs: number },
): Refusal[] {
  const why = waitReason("it opens", old, waitMs);
  return (assignment.tcp ?? []).flatMap(({ port, pool }) =>
    pool && !listening.has(port) ? [{ what: `port ${port}`, why }] : [],
  );
}

// Why a build ended without a result, in words that a push prints. Everything else thrown is this host's trouble.
import { isFault } from "#api/fault.ts";
import { causeChain } from "#lib/run.ts";
import { formatDuration, formatSize } from "#lib/units.ts";

export class BuildFailure extends Error {
  readonly exitCode: number;
  constructor(message: string, options: { exitCode?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.exitCode = options.exitCode ?? 1;
  }
}

export interface EndedContainer {
  exitCode: number;
  oomKilled: boolean;
  /** The engine's word on a failed start. */
  error: string;
  /** The builder's own reason, or the last line it marked as a failure. */
  said?: string;
  limits: { memoryBytes: number; pids: number };
  outputTail: string;
}

/** What the end of a build's container means; undefined: it succeeded. */
export function containerFailure(ended: EndedContainer): BuildFailure | undefined {
  const { exitCode, oomKilled, error, said, limits, outputTail } = ended;
  if (error !== "") return new BuildFailure(`the builder could not be started: ${error.slice(0, 300)}`);
  if (exitCode === 0) return undefined;
  if (oomKilled) return new BuildFailure(memoryReason(limits.memoryBytes), { exitCode: 137 });
  const reason = said ?? `the build exited with ${exitCode}`;
  return new BuildFailure(reason + limitHint(outputTail, limits.pids), {
    exitCode: Math.min(Math.max(exitCode, 1), 255),
  });
}

/** A limit that the output speaks of, for programs that only know that something was refused. */
export function limitHint(output: string, pids: number): string {
  if (/No space left on device/i.test(output)) return " (no space left on the host's disk)";
  if (/can't fork|fork: retry|Cannot fork|Resource temporarily unavailable|EAGAIN/i.test(output))
    return ` (a build may run ${pids} processes)`;
  return "";
}

export const memoryReason = (limitBytes: number): string =>
  `out of memory: the build may use ${formatSize(limitBytes)}`;
export const timeReason = (limitMs: number): string =>
  `took longer than ${formatDuration(limitMs)}, the build's time limit`;
export const diskReason = (limitBytes: number): string =>
  `used more than ${formatSize(limitBytes)} of disk, the build's limit`;

export function reasonOf(error: unknown): { exitCode: number; reason: string } {
  if (error instanceof BuildFailure) return { exitCode: error.exitCode, reason: error.message.slice(0, 4_000) };
  const chain = causeChain(error).join(": ");
  if (/no space left on device|ENOSPC/i.test(chain)) return { exitCode: 1, reason: "the host's disk is full" };
  const prefix = isFault(error) ? "" : "the host could not run the build: ";
  return { exitCode: 1, reason: `${prefix}${chain}`.slice(0, 4_000) };
}

export const ownReason = (mostBytes: number): string =>
  `a step of the build printed or wrote to /etc/hosts, /etc/hostname or /etc/resolv.conf more than ${formatSize(mostBytes)}; print less, and write elsewhere`;

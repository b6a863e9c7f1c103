// What the platform writes into an app's log when a job moves: how its process ended, why, and the states. Pure.
import type { JobRecord } from "../job-record.ts";

const OUT_OF_MEMORY = /^out of memory(?: \(limit (.+)\))?$/;

export function changeLines(before: JobRecord | undefined, after: JobRecord): string[] {
  if (before?.state === after.state) return [];
  if (before === undefined)
    return after.state === "starting" && after.containerId === undefined ? ["Starting process"] : [];
  return [...reasonLines(before, after), `State changed from ${before.state} to ${after.state}`];
}

function reasonLines(before: JobRecord, after: JobRecord): string[] {
  const { state, reason, exitCode } = after;
  const ended = after.endedId !== undefined && after.endedId !== before.endedId;
  if (state === "unhealthy") return [`Health check failed: ${reason}`];
  const signal = after.killedAtMs === undefined ? "SIGTERM" : "SIGKILL";
  if (state === "stopping") return [`Stopping process with ${signal}${reason ? `: ${reason}` : ""}`];
  const memory = ended ? OUT_OF_MEMORY.exec(reason) : null;
  if (memory) return [`Memory limit${memory[1] ? ` of ${memory[1]}` : ""} exceeded (OOM)`];
  if (ended && exitCode !== undefined) {
    const told = after.reason !== "" && !after.reason.startsWith("exited ") && after.reason !== before.reason;
    return [`Process exited with status ${exitCode}`, ...(told && state === "crashed" ? [`Reason: ${reason}`] : [])];
  }
  return state === "crashed" ? [`Start failed: ${reason}`] : [];
}

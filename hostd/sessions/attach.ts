// A client with the streams of a job that runs once: the container was made and waits; it is started when the client is here, so
// that nothing of what it says is missed, and its record says how it ended. When the client goes, the plan ends the job.

import type { FrameSocket } from "#api/frame-socket.ts";
import type { Exit } from "#api/frames.ts";
import { startReason } from "../apply.ts";
import { containerName } from "../job-container.ts";
import type { JobRecord } from "../job-record.ts";
import { carry, type SessionContext } from "./carry.ts";

/** The target that names the job may be on its way still. */
const KNOWN_WITHIN_MS = 30_000;

export async function attachSession(jobId: string, socket: FrameSocket, context: SessionContext): Promise<Exit> {
  const { agent, streams, engine, attached, changed } = context;
  if (attached.has(jobId)) return { reason: "another client holds its streams already" };
  attached.add(jobId);
  try {
    let told = "";
    let last: JobRecord | undefined;
    const knownBy = performance.now() + KNOWN_WITHIN_MS;
    const isReady = () => {
      const { job, record, container } = agent.find(jobId);
      last = record ?? last;
      if (record?.state === "down") return true;
      if (job === undefined) return last !== undefined || performance.now() > knownBy;
      if (job.task?.attach !== true || job.desired === "stop") return true;
      const reason = record?.reason ?? "";
      if (reason !== told && container === undefined) socket.send({ type: "state", text: reason });
      told = reason;
      return container !== undefined && (container.status !== "created" || record?.containerId === container.id);
    };
    await changed(isReady, socket.closed);
    const { job, record, container } = agent.find(jobId);
    if (socket.closed.aborted) return { reason: "its client went away" };
    if (last?.state === "down") return ended(last);
    if (job === undefined) return { reason: "the job is not on this host" };
    if (job.task?.attach !== true) return { reason: "the job was not made to be attached to" };
    if (container?.status !== "created" || record === undefined) return { reason: "the job has started already" };

    const name = containerName(jobId);
    const process = await streams.attach(name, { tty: job.task.tty });
    try {
      try {
        await engine.start(name);
      } catch (error) {
        agent.startFailed(jobId, startReason(error));
        return ended(agent.find(jobId).record);
      }
      agent.wake();
      await carry(socket, process, {
        resize: (size) => (job.task?.tty ? streams.resize(name, size) : Promise.resolve()),
        signal: (signal) => engine.signal(name, `SIG${signal}`),
      });
    } finally {
      process.destroy();
    }
    // What the agent saw of the end says more than the stream: exit code, out of memory, who stopped it.
    await changed(() => {
      last = agent.find(jobId).record ?? last;
      return last?.state === "down" || agent.find(jobId).record === undefined;
    }, socket.closed);
    return ended(last);
  } finally {
    attached.delete(jobId);
    agent.wake();
  }
}

function ended(record: JobRecord | undefined): Exit {
  return {
    ...(record?.exitCode === undefined ? {} : { code: record.exitCode }),
    ...(record?.reason ? { reason: record.reason } : {}),
  };
}

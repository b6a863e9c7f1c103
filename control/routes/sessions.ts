// Sessions with jobs, passed on to their hosts: attach, exec, forward, and signals. Who did what is an event: the first word of a
// command, never its arguments.
import type { WebSocket } from "ws";
import { attachJob, execJob, forwardJob, signalJob } from "#api/attach.ts";
import type { Params, Query } from "#api/endpoint.ts";
import { Fault, isFault } from "#api/fault.ts";
import type { Exit } from "#api/frames.ts";
import type { Job } from "#api/jobs.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import type { Context } from "../context.ts";
import { eventChanges, type NewEvent } from "../events.ts";
import type { HostClients } from "../host-clients.ts";
import type { Mount } from "../mount.ts";
import type { MountSocket } from "../mount-socket.ts";
import { isEnded } from "../scheduler/job-rules.ts";
import { placed } from "../sessions/placed.ts";
import { inlet, relay, sendFrame } from "../sessions/relay.ts";
import { firstWord, type Tasks } from "../tasks/tasks.ts";

export interface SessionParts {
  mount: Mount;
  mountSocket: MountSocket;
  tasks: Tasks;
  hosts: HostClients;
}

/** A hostd that is being restarted is waited for so long. */
const DIAL_WITHIN_MS = 15_000;
const START_WITHIN_MS = 10_000;

export function mountSessions(context: Context, { mount, mountSocket, tasks, hosts }: SessionParts): void {
  const { store, now, log } = context;

  const findJob = (id: string): Job => {
    const job = context.jobs.get(id);
    if (job === undefined) throw new Fault("not-found", `no job ${id}`);
    return job;
  };
  const running = (id: string): Job & { hostId: string } => {
    const job = findJob(id);
    if (job.hostId === undefined || isEnded(job))
      throw new Fault("conflict", `job ${id} does not run: it is ${job.state}${job.reason ? ` (${job.reason})` : ""}`);
    return { ...job, hostId: job.hostId };
  };
  const tell = (job: Job, event: Pick<NewEvent, "type" | "actor" | "message">): void => {
    store
      .commit({
        actor: event.actor,
        mutations: eventChanges(store, now(), { ...event, subject: job.id, app: job.app }),
      })
      .catch((error: unknown) => log.error({ err: error, jobId: job.id }, "event not written"));
  };
  const dial = async (
    endpoint: typeof attachJob | typeof execJob | typeof forwardJob,
    job: Job & { hostId: string },
    input: { params: Params<typeof attachJob>; query?: Query<typeof forwardJob> },
    signal: AbortSignal,
  ): Promise<{ host: WebSocket; hostName: string }> => {
    const lateMs = performance.now() + DIAL_WITHIN_MS;
    for (let attempt = 1; ; attempt++) {
      try {
        const { client, name } = hosts.of(job.hostId);
        return { host: await client.connect(endpoint, { ...input, signal } as never), hostName: name };
      } catch (error) {
        const later = isFault(error, "unavailable") && performance.now() < lateMs && !signal.aborted;
        if (!later || isEnded(context.jobs.get(job.id) ?? job)) throw error;
        await sleep(backoffMs(attempt, 100, 2_000), signal);
      }
    }
  };

  mountSocket(attachJob, ({ params, principal }) => {
    const wanted = findJob(params.id);
    if (wanted.task?.attach !== true)
      throw new Fault("conflict", `job ${params.id} has streams of its own; use \`flynn exec\` or its log`);
    return async (client, signal) => {
      const from = inlet(client);
      let exit: Exit | undefined;
      try {
        const onReason = (text: string) => sendFrame(client, { type: "state", text });
        const job = await placed(context, wanted, { signal, onReason });
        if (job === undefined) return;
        if (isEnded(job) || job.hostId === undefined) {
          exit = {
            ...(job.exitCode === undefined ? {} : { code: job.exitCode }),
            reason: job.reason || "it has ended",
          };
          return sendFrame(client, { type: "exit", exit });
        }
        const { host, hostName } = await dial(attachJob, { ...job, hostId: job.hostId }, { params }, signal);
        exit = await relay(client, from, host, { hostName, signal });
      } finally {
        if (exit === undefined) await tasks.stop(wanted.appId, wanted.id, `${principal.name}: its client went away`);
      }
    };
  });

  mountSocket(execJob, ({ params, principal }) => {
    const job = running(params.id);
    return async (client, signal) => {
      const from = inlet(client);
      const start = await from.first(START_WITHIN_MS, signal);
      if (signal.aborted) return;
      if (start?.type !== "start" || start.start.command === undefined)
        throw new Fault("invalid", "the first frame is to say what to run");
      const what = `${firstWord(start.start.command)} in ${job.process} ${job.id}`;
      tell(job, { type: "job.exec", actor: principal.name, message: `runs ${what}` });
      const { host, hostName } = await dial(execJob, job, { params }, signal);
      const exit = await relay(client, from, host, { hostName, signal });
      const how = exit?.code === undefined ? (exit?.reason ?? "its connection ended") : `exit ${exit.code}`;
      tell(job, { type: "job.exec-ended", actor: principal.name, message: `${what} ended: ${how}` });
    };
  });

  mountSocket(forwardJob, ({ params, query, principal }) => {
    const job = running(params.id);
    return async (client, signal) => {
      const from = inlet(client);
      tell(job, {
        type: "job.forward",
        actor: principal.name,
        message: `connects to port ${query.port} of ${job.process} ${job.id}`,
      });
      const { host, hostName } = await dial(forwardJob, job, { params, query }, signal);
      await relay(client, from, host, { hostName, signal });
    };
  });

  mount(signalJob, async ({ params, body, principal, signal }) => {
    const job = running(params.id);
    await hosts.of(job.hostId).client.call(signalJob, { params, body, signal });
    tell(job, {
      type: "job.signalled",
      actor: principal.name,
      message: `SIG${body.signal} was sent to ${job.process} ${job.id}`,
    });
    return {};
  });
}

// Sessions with jobs, passed on to their hosts: attach, exec, forward, and signals. Who did what, and how it ended, are events: the
// first word of a command, never its arguments.
import type { WebSocket } from "ws";
import { attachJob, createSession, execJob, forwardJob, signalJob } from "#api/attach.ts";
import type { Params, Query } from "#api/endpoint.ts";
import { Fault, isFault, toFault } from "#api/fault.ts";
import type { Exit } from "#api/frames.ts";
import { isEnded, type Job } from "#api/jobs.ts";
import { sessionPath } from "#api/session.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import type { Context } from "../context.ts";
import { eventChanges, type NewEvent } from "../events.ts";
import type { HostClients } from "../host-clients.ts";
import type { Mount } from "../mount.ts";
import type { MountSocket } from "../mount-socket.ts";
import { placed } from "../sessions/placed.ts";
import { inlet, relay, sendFrame } from "../sessions/relay.ts";
import { TICKET_TTL_MS, type Tickets } from "../sessions/tickets.ts";
import { firstWord, type Tasks } from "../tasks/tasks.ts";

export interface SessionParts {
  mount: Mount;
  mountSocket: MountSocket;
  tickets: Tickets;
  tasks: Tasks;
  hosts: HostClients;
}

/** A hostd that is being restarted is waited for so long. */
const DIAL_WITHIN_MS = 15_000;
const START_WITHIN_MS = 10_000;

export function mountSessions(context: Context, { mount, mountSocket, tickets, tasks, hosts }: SessionParts): void {
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
  const attachable = (id: string): Job => {
    const job = findJob(id);
    if (job.task?.attach !== true)
      throw new Fault("conflict", `job ${id} has streams of its own; use \`flynn exec\` or its log`);
    return job;
  };
  const tell = (job: Job, event: Pick<NewEvent, "type" | "actor" | "message">): void => {
    store
      .commit({
        actor: event.actor,
        mutations: eventChanges(store, now(), { ...event, subject: job.id, app: job.app }),
      })
      .catch((error: unknown) => log.error({ err: error, jobId: job.id }, "event not written"));
  };
  /** Runs a session and tells how it ended, also when it was refused or broke. */
  const tellingEnd = async (
    job: Job,
    { type, actor, what }: { type: string; actor: string; what: string },
    session: () => Promise<Exit | undefined>,
  ): Promise<void> => {
    let how = "its connection ended";
    try {
      const exit = await session();
      how = exit?.code === undefined ? (exit?.reason ?? how) : `exit ${exit.code}`;
    } catch (error) {
      how = toFault(error, "it failed").message;
      throw error;
    } finally {
      tell(job, { type, actor, message: `${what} ended: ${how}` });
    }
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

  mount(createSession, ({ params: { id }, body: { kind, port }, principal }) => {
    if ((port === undefined) === (kind === "forward"))
      throw new Fault("invalid", kind === "forward" ? "a forward needs a port" : "only a forward takes a port", {
        details: { field: "port" },
      });
    if (kind === "attach") attachable(id);
    else running(id);
    if (principal.kind !== "token") throw new Error("only tokens have app:write");
    const ticket = tickets.issue(principal.sha256, sessionPath({ id, kind, ...(port === undefined ? {} : { port }) }));
    return { ticket, expiresAt: new Date(now().getTime() + TICKET_TTL_MS).toISOString() };
  });

  const attach = async (client: WebSocket, wanted: Job, signal: AbortSignal): Promise<Exit | undefined> => {
    const from = inlet(client);
    const onReason = (text: string) => sendFrame(client, { type: "state", text });
    const job = await placed(context, wanted, { signal, onReason });
    if (job === undefined) return undefined;
    if (isEnded(job) || job.hostId === undefined) {
      const code = job.exitCode === undefined ? {} : { code: job.exitCode };
      const exit = { ...code, reason: job.reason || "it has ended" };
      sendFrame(client, { type: "exit", exit });
      return exit;
    }
    const params = { id: job.id };
    const { host, hostName } = await dial(attachJob, { ...job, hostId: job.hostId }, { params }, signal);
    return relay(client, from, host, { hostName, signal });
  };
  mountSocket(attachJob, ({ params, principal }) => {
    const wanted = attachable(params.id);
    const { process, id, task } = wanted;
    const what = `${firstWord(task?.command) || process} in ${process} ${id}`; // its begin is told when it is made
    return (client, signal) =>
      tellingEnd(wanted, { type: "job.attach-ended", actor: principal.name, what }, async () => {
        let exit: Exit | undefined;
        try {
          exit = await attach(client, wanted, signal);
        } finally {
          if (exit === undefined) await tasks.stop(wanted.appId, id, `${principal.name}: its client went away`);
        }
        return exit;
      });
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
      await tellingEnd(job, { type: "job.exec-ended", actor: principal.name, what }, async () => {
        const { host, hostName } = await dial(execJob, job, { params }, signal);
        return relay(client, from, host, { hostName, signal });
      });
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

  mount(signalJob, async ({ params, body, principal, signal, idempotent, earlier }) => {
    if (await earlier<boolean>()) return {};
    const job = running(params.id);
    await hosts.of(job.hostId).client.call(signalJob, { params, body, signal });
    const event = {
      type: "job.signalled",
      subject: job.id,
      app: job.app,
      actor: principal.name,
      message: `SIG${body.signal} was sent to ${job.process} ${job.id}`,
    };
    const mutations = eventChanges(store, now(), event);
    await store.commit({ actor: principal.name, ...idempotent, mutations, result: true });
    return {};
  });
}

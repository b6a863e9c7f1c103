// The sessions of this host's jobs: which path is which, how many at once, and how each ends: one exit frame, then the connection.
import type { WebSocket } from "ws";
import { attachJob, execJob, forwardJob } from "#api/attach.ts";
import { Fault, toFault } from "#api/fault.ts";
import { type FrameSocket, frameSocket } from "#api/frame-socket.ts";
import type { Exit } from "#api/frames.ts";
import { attachSession } from "./attach.ts";
import type { SessionContext } from "./carry.ts";
import { execSession } from "./exec.ts";
import { forwardSession } from "./forward.ts";

export interface Sessions {
  /** What is done with the connection once it is one; throws a Fault when the path is nothing here. */
  open(url: URL): (socket: WebSocket) => Promise<void>;
  readonly count: number;
}

const SESSIONS_MOST = 256;
const START_WITHIN_MS = 10_000;

type Serve = (jobId: string, socket: FrameSocket, url: URL) => Promise<Exit>;

export function sessions(context: SessionContext): Sessions {
  const { log } = context;
  let count = 0;
  const kinds: { path: RegExp; serve: Serve }[] = [
    { path: pathOf(attachJob.path), serve: (jobId, socket) => attachSession(jobId, socket, context) },
    {
      path: pathOf(execJob.path),
      async serve(jobId, socket) {
        const frame = await socket.first(START_WITHIN_MS);
        if (frame?.type !== "start") return { reason: "the first frame is to say what to run" };
        return execSession(jobId, frame.start, socket, context);
      },
    },
    {
      path: pathOf(forwardJob.path),
      async serve(jobId, socket, url) {
        const port = Number(url.searchParams.get("port"));
        if (!Number.isInteger(port) || port < 1 || port > 65_535) return { reason: "port is to be 1-65535" };
        return forwardSession(jobId, port, socket, context);
      },
    },
  ];
  return {
    get count() {
      return count;
    },
    open(url) {
      const found = kinds.find(({ path }) => path.test(url.pathname));
      if (found === undefined) throw new Fault("not-found", `${url.pathname} is nothing here`);
      if (count >= SESSIONS_MOST) throw new Fault("rate-limited", `this host has ${SESSIONS_MOST} sessions already`);
      const jobId = found.path.exec(url.pathname)![1]!;
      return async (connection) => {
        count++;
        const socket = frameSocket(connection);
        try {
          const exit = await found.serve(jobId, socket, url).catch((error: unknown): Exit => {
            log.warn({ err: error, jobId }, "session failed");
            return { reason: toFault(error, "serve the session").message };
          });
          socket.send({ type: "exit", exit });
          await socket.close();
        } finally {
          count--;
        }
      };
    },
  };
}

/** `/v1/jobs/:id/exec` as an expression that finds the id. */
const pathOf = (path: string): RegExp => new RegExp(`^${path.replace(":id", "([a-zA-Z0-9][a-zA-Z0-9._-]{0,63})")}$`);

// POST /v1/jobs/:id/signal: one signal to the first process of a job's container; SIGTERM to all that a stop tells, since the first one is a
// shell as often as not.
import type { IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { signalJob } from "#api/attach.ts";
import { Fault } from "#api/fault.ts";
import { SIGNALS } from "#api/frames.ts";
import type { Agent } from "../agent.ts";
import type { Engine } from "../engine/engine.ts";
import { containerName } from "../job-container.ts";
import type { HostRoute } from "../server.ts";
import type { JobStops } from "../stop/stop.ts";

const BODY_MOST_BYTES = 1_024;

export function signalRoute({
  agent,
  engine,
  stops,
}: {
  agent: Pick<Agent, "find">;
  engine: Pick<Engine, "signal">;
  stops: Pick<JobStops, "tell">;
}): HostRoute {
  const path = new RegExp(`^${signalJob.path.replace(":id", "([a-zA-Z0-9][a-zA-Z0-9._-]{0,63})")}$`);
  return {
    method: signalJob.method,
    path,
    async answer(req, res, url) {
      const jobId = path.exec(url.pathname)![1]!;
      const signal = await wishOf(req);
      const { container } = agent.find(jobId);
      if (container?.status !== "running") throw new Fault("conflict", `job ${jobId} is not running`);
      const isTold = signal === "TERM" && (await stops.tell(container));
      if (!isTold) await engine.signal(containerName(jobId), `SIG${signal}`);
      res.writeHead(200, { "content-type": "application/json" });
      res.end("{}");
    },
  };
}

async function wishOf(req: IncomingMessage): Promise<string> {
  if (Number(req.headers["content-length"] ?? 0) > BODY_MOST_BYTES)
    throw new Fault("too-large", "the body is too large");
  const { signal } = JSON.parse((await text(req)) || "{}") as { signal?: unknown };
  if (!(SIGNALS as readonly unknown[]).includes(signal)) throw new Fault("invalid", "signal is not one of the known");
  return String(signal);
}

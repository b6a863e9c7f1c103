// ps forward: a port of a job as a port of this machine.
import { createServer, type Socket } from "node:net";
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { frameSocket } from "#api/frame-socket.ts";
import { type Job, listJobs } from "#api/jobs.ts";
import { openSession } from "#api/session.ts";
import { appName } from "../apps/app.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { defaultJob } from "../jobs/job-names.ts";
import type { Cli, Command } from "../parse/command.ts";
import { findJob } from "./run.ts";

export const forwardCommands: readonly Command[] = [
  {
    words: "ps forward",
    summary: "Reach a port of a job at a port of this machine, until Ctrl-C",
    more: [
      "  flynn ps forward 5432              127.0.0.1:5432 is port 5432 of a job of the app that is up",
      "  flynn ps forward web.1 9000:8080   127.0.0.1:9000 is port 8080 of the oldest web job",
    ].join("\n"),
    args: [{ name: "JOB" }, { name: "[LOCAL:]PORT" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli, args } = call;
        const spec = args.at(-1);
        if (spec === undefined)
          throw new Fault("invalid", "ps forward needs a port: flynn ps forward [JOB] [LOCAL:]PORT");
        const { local, port } = portsOf(spec);
        const jobsOf = async () =>
          listAll(client, listJobs, { params: { app: await appName(call) }, signal: cli.signal });
        const job = args.length > 1 ? await findJob(client, call, args[0]!) : defaultJob(await jobsOf());
        await forward({ cli, client, job, local, port });
      }),
  },
];

/** `9000:5432`, `5432`, or `0:5432` for any free port here. */
export function portsOf(spec: string): { local: number; port: number } {
  const match = /^(?:(\d{1,5}):)?(\d{1,5})$/.exec(spec);
  const port = Number(match?.[2]);
  const local = match?.[1] === undefined ? port : Number(match[1]);
  if (match === null || port < 1 || port > 65_535 || local > 65_535)
    throw new Fault("invalid", `${spec} is not a port, nor LOCAL:PORT`);
  return { local, port };
}

interface Forward {
  cli: Cli;
  client: Client;
  job: Job;
  local: number;
  port: number;
}

async function forward({ cli, client, job, local, port }: Forward): Promise<void> {
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (connection) => {
    open.add(connection);
    connection.once("close", () => open.delete(connection));
    carry(connection, { client, job, port, signal: cli.signal }).catch((error: unknown) => {
      connection.destroy();
      if (!cli.signal.aborted) cli.say(`error: ${(error as Error).message}`);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(
        new Fault(
          "conflict",
          error.code === "EADDRINUSE"
            ? `port ${local} is in use here; say another: ${local + 1}:${port}`
            : error.message,
        ),
      ),
    );
    server.listen(local, "127.0.0.1", resolve);
  });
  const { port: listens } = server.address() as { port: number };
  cli.say(`Forwarding 127.0.0.1:${listens} to port ${port} of ${job.process} ${job.id}; Ctrl-C ends it`);
  if (!cli.signal.aborted)
    await new Promise<void>((resolve) => cli.signal.addEventListener("abort", () => resolve(), { once: true }));
  for (const connection of open) connection.destroy();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

async function carry(
  connection: Socket,
  { client, job, port, signal }: Pick<Forward, "client" | "job" | "port"> & { signal: AbortSignal },
): Promise<void> {
  connection.on("error", () => connection.destroy());
  const socket = frameSocket(await openSession(client, { kind: "forward", id: job.id, port }, signal));
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  connection.once("close", () => void socket.close());
  socket.closed.addEventListener("abort", () => connection.destroy(), { once: true });
  socket.receive(async (frame) => {
    if (frame.type === "stdout" && connection.writable)
      await new Promise<void>((resolve) => connection.write(frame.data, () => resolve()));
    if (frame.type === "stdout-eof") connection.end();
    if (frame.type !== "exit") return;
    if (frame.exit.code === undefined) failed.reject(new Fault("unavailable", frame.exit.reason ?? "it ended"));
    connection.end();
    await socket.close();
  });
  socket.send({ type: "start", start: {} });
  const sending = async () => {
    for await (const data of connection.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>)
      if (!(await socket.sendData("stdin", data))) return;
    socket.send({ type: "stdin-eof" });
    await new Promise<void>((resolve) => (connection.closed ? resolve() : connection.once("close", () => resolve())));
  };
  await Promise.race([sending(), failed.promise]);
}

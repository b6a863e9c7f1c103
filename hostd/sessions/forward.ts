// One TCP connection to a port of a job, as frames: what the client sends is stdin, what the job answers is stdout, and either
// side may say that it has no more to send while it still reads.
import { connect } from "node:net";
import type { FrameSocket } from "#api/frame-socket.ts";
import type { Exit } from "#api/frames.ts";
import type { SessionContext } from "./carry.ts";

const CONNECT_TIMEOUT_MS = 5_000;

export async function forwardSession(
  jobId: string,
  port: number,
  socket: FrameSocket,
  { agent }: Pick<SessionContext, "agent">,
): Promise<Exit> {
  const { container } = agent.find(jobId);
  if (container?.status !== "running" || container.address === undefined) return { reason: "the job is not running" };
  const connection = connect({ host: container.address, port, allowHalfOpen: true, noDelay: true });
  const stop = () => connection.destroy();
  socket.closed.addEventListener("abort", stop, { once: true });
  try {
    await new Promise<void>((resolve, reject) => {
      connection.setTimeout(CONNECT_TIMEOUT_MS, () => connection.destroy(new Error("no answer in time")));
      connection.once("connect", resolve).once("error", reject);
    });
  } catch (error) {
    return { reason: `nothing takes connections on port ${port}: ${(error as Error).message}` };
  }
  connection.setTimeout(0);
  connection.on("error", () => undefined); // the reader below hears of it
  const closed = new Promise<void>((resolve) => connection.once("close", () => resolve()));
  socket.receive(async (frame) => {
    if (frame.type === "stdin-eof") connection.end();
    if (frame.type !== "stdin" || !connection.writable || connection.write(frame.data)) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        connection.off("drain", done).off("close", done);
        resolve();
      };
      connection.on("drain", done).on("close", done);
    });
  });
  socket.send({ type: "started" });
  try {
    for await (const data of connection.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>)
      if (!(await socket.sendData("stdout", data))) break;
    socket.send({ type: "stdout-eof" });
    await closed; // the client's side goes on until it ends too
    return { code: 0 };
  } catch (error) {
    return { reason: `the job's side broke: ${(error as Error).message}` };
  } finally {
    socket.closed.removeEventListener("abort", stop);
    connection.destroy();
  }
}

// A command in a running job. Docker lets it go on when its client goes, so all it started is found and ended here.
import { isFault } from "#api/fault.ts";
import type { FrameSocket } from "#api/frame-socket.ts";
import type { Exit, Start } from "#api/frames.ts";
import { newId } from "#lib/ids.ts";
import { sleep } from "#lib/time.ts";
import { startReason } from "../apply.ts";
import type { EngineStreams, ExecState } from "../engine/docker-streams.ts";
import type { Container } from "../engine/engine.ts";
import { containerName } from "../job-container.ts";
import { carry, type SessionContext } from "./carry.ts";
import { MARK, type Started, signalAll } from "./processes.ts";

/** The stack's first program: images/stack/rootfs/start. */
const APP_START = "/flynn/start";
/** Where images of Cloud Native Buildpacks have their processes and what starts them. */
const CNB = "/cnb/";
const CNB_LAUNCHER = `${CNB}lifecycle/launcher`;
/** From SIGHUP to SIGKILL, once the client has gone. */
const HANG_UP_GRACE_MS = 1_000;
/** Docker knows the exit code a moment after the streams have ended. */
const CODE_WITHIN_MS = 10_000;

export async function execSession(
  jobId: string,
  start: Start,
  socket: FrameSocket,
  { agent, streams, hostId, log }: SessionContext,
): Promise<Exit> {
  const { container } = agent.find(jobId);
  if (container?.status !== "running") return { reason: "the job is not running" };
  if (start.command === undefined) return { reason: "no command was given" };
  const { env = {}, tty = false } = start;
  const command = commandIn(container, start.command);
  const mark = `${hostId}.${newId("exec")}.`; // one is never the beginning of another
  let begun: Awaited<ReturnType<EngineStreams["exec"]>>;
  try {
    begun = await streams.exec(containerName(jobId), { command, env: { ...env, [MARK]: mark }, tty });
  } catch (error) {
    if (isFault(error, "unavailable") || isFault(error, "timeout")) throw error;
    return { code: 126, reason: startReason(error) };
  }
  const { id, streams: process } = begun;
  const containerId = container.id;
  const pid = async () => (await streams.execState(id)).pid;
  try {
    await carry(socket, process, {
      size: start.columns && start.rows ? { columns: start.columns, rows: start.rows } : undefined,
      resize: (size) => (tty ? streams.execResize(id, size) : Promise.resolve()),
      signal: async (signal) =>
        void (await signalAll({ pid: await pid(), mark, containerId }, `SIG${signal}` as NodeJS.Signals)),
    });
    if (!socket.closed.aborted) return await exitOf(streams, id, socket.closed);
  } finally {
    process.destroy();
    if (socket.closed.aborted) {
      const state = await streams.execState(id).catch((): ExecState => ({ running: true }));
      await reap({ pid: state.running ? state.pid : undefined, mark, containerId });
      log.info({ jobId, exec: id }, "command ended with its client");
    }
  }
  return { reason: "its client went away" };
}

/**
 * What buildpacks made is entered as its jobs start: with the variables of the app's own start-up files, or those of the layers of
 * Cloud Native Buildpacks. Others as they are.
 */
export function commandIn({ entrypoint }: Pick<Container, "entrypoint">, command: string[]): string[] {
  if (entrypoint?.[0]?.startsWith(CNB)) return command[0]?.startsWith(CNB) ? command : [CNB_LAUNCHER, "--", ...command];
  const isStarted = entrypoint?.length === 1 && entrypoint[0] === APP_START;
  return isStarted && command[0] !== APP_START ? [APP_START, ...command] : command;
}

/** SIGHUP as when a terminal goes away, then SIGKILL to what is left. */
async function reap(of: Started): Promise<void> {
  if ((await signalAll(of, "SIGHUP")) === 0) return;
  await sleep(HANG_UP_GRACE_MS);
  await signalAll(of, "SIGKILL");
}

/** Commands that a hostd before this one began: their clients are gone with it. */
export async function reapLeftBehind(hostId: string): Promise<number> {
  return signalAll({ mark: `${hostId}.` }, "SIGKILL");
}

async function exitOf(streams: EngineStreams, id: string, closed: AbortSignal): Promise<Exit> {
  const untilMs = performance.now() + CODE_WITHIN_MS;
  while (performance.now() < untilMs && !closed.aborted) {
    const { running, exitCode } = await streams.execState(id);
    if (!running && exitCode !== undefined) return { code: exitCode };
    await sleep(20, closed);
  }
  return { reason: "its streams ended, but the engine does not say how it ended" };
}

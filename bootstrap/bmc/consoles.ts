// Consoles that somebody looks at: one session with each machine's BMC, kept open for a while after the last one left, so that what was
// printed meanwhile is there; each person's end is a WebSocket to control.
import type { WebSocket } from "ws";
import type { ConsoleWork } from "#api/bmc-work.ts";
import { frameSocket } from "#api/frame-socket.ts";
import type { Log } from "#lib/log.ts";
import type { ControlSide } from "./control-side.ts";
import { type Console, openConsole } from "./sol.ts";

export interface ConsoleBook {
  setWork(work: readonly ConsoleWork[], control: Pick<ControlSide, "dial">): void;
  kept(machineId: string): { text: string; since?: string };
  close(): Promise<void>;
}

/** A console that nobody looked at for so long is let go, and what it printed with it. */
const IDLE_MS = 60 * 60_000;
const CONSOLES_MOST = 64;

interface Open {
  console: Console;
  bmc: string;
  lookers: number;
  idle?: NodeJS.Timeout;
}

export function consoleBook({
  log,
  open = openConsole,
  idleMs = IDLE_MS,
}: {
  log: Log;
  open?: (bmc: ConsoleWork["bmc"]) => Console;
  idleMs?: number;
}): ConsoleBook {
  const byMachine = new Map<string, Open>();
  const sessions = new Map<string, AbortController>();
  const serving = new Set<Promise<void>>();

  const letGo = (machineId: string): void => {
    const found = byMachine.get(machineId);
    byMachine.delete(machineId);
    clearTimeout(found?.idle);
    found?.console.close().catch((error: unknown) => log.warn({ err: error }, "a console was not closed"));
  };

  const consoleOf = ({ machineId, bmc }: ConsoleWork): Open => {
    const [known, key] = [byMachine.get(machineId), JSON.stringify(bmc)];
    if (known && !known.console.ended && known.bmc === key) return known;
    if (known) letGo(machineId);
    for (const [id, { lookers }] of byMachine) if (byMachine.size >= CONSOLES_MOST && lookers === 0) letGo(id);
    const made: Open = { console: open(bmc), bmc: key, lookers: 0 };
    byMachine.set(machineId, made);
    return made;
  };

  async function serve(work: ConsoleWork, control: Pick<ControlSide, "dial">, signal: AbortSignal): Promise<void> {
    const socket: WebSocket = await control.dial(work, signal);
    const frames = frameSocket(socket);
    const { promise: over, resolve: end } = Promise.withResolvers<string>();
    const onAbort = () => end("the session was ended");
    signal.addEventListener("abort", onAbort, { once: true });
    frames.closed.addEventListener("abort", () => end("the looker left"), { once: true });
    let found: Open | undefined;
    let unlisten = (): void => undefined;
    try {
      const opened = consoleOf(work);
      found = opened;
      opened.lookers++;
      clearTimeout(opened.idle);
      frames.send({ type: "started" });
      let line: Promise<unknown> = frames.sendData("stdout", opened.console.kept());
      let waiting = 0;
      unlisten = opened.console.listen({
        bytes(bytes) {
          waiting += bytes.length;
          // A looker that reads too slowly misses what a serial line cannot wait with.
          if (waiting > 4 << 20) return end("it reads too slowly");
          line = line
            .then(() => frames.sendData("stdout", bytes))
            .then(() => {
              waiting -= bytes.length;
            });
        },
        end,
      });
      frames.receive((frame) => {
        if (frame.type === "stdin") opened.console.type(frame.data);
      });
      const reason = await over;
      frames.send({ type: "exit", exit: { reason } });
    } catch (error) {
      frames.send({ type: "exit", exit: { reason: error instanceof Error ? error.message : "it failed" } });
    } finally {
      unlisten();
      signal.removeEventListener("abort", onAbort);
      await frames.close();
      if (found !== undefined && --found.lookers === 0) {
        const { machineId } = work;
        found.idle = setTimeout(() => letGo(machineId), idleMs).unref();
      }
    }
  }

  return {
    setWork(work, control) {
      const wanted = new Set(work.map(({ session }) => session));
      for (const [session, stop] of sessions) {
        if (wanted.has(session)) continue;
        stop.abort();
        sessions.delete(session);
      }
      for (const one of work) {
        if (sessions.has(one.session)) continue;
        const stop = new AbortController();
        sessions.set(one.session, stop);
        const served = serve(one, control, stop.signal)
          .catch((error: unknown) => log.warn({ err: error, machine: one.machineId }, "a console was not shown"))
          .finally(() => serving.delete(served));
        serving.add(served);
      }
    },
    kept(machineId) {
      const found = byMachine.get(machineId)?.console;
      if (found === undefined) return { text: "" };
      return { text: found.kept().toString("base64"), since: found.since };
    },
    async close() {
      for (const stop of sessions.values()) stop.abort();
      await Promise.allSettled([...serving]);
      const open = [...byMachine.keys()].map((id) => {
        const found = byMachine.get(id)!;
        clearTimeout(found.idle);
        return found.console.close();
      });
      byMachine.clear();
      await Promise.allSettled(open);
    },
  };
}

// A machine's serial console: what was kept of it, and a session whose other end the boot server opens.

import type { WebSocket } from "ws";
import { serveConsole } from "#api/bmc-work.ts";
import { Fault } from "#api/fault.ts";
import * as api from "#api/power.ts";
import { fillPath } from "#api/wire.ts";
import type { Context } from "../context.ts";
import { eventChanges, plainText } from "../events.ts";
import { machineCalled } from "../find-machine.ts";
import type { Mount } from "../mount.ts";
import type { MountSocket } from "../mount-socket.ts";
import { switchOf } from "../power/bmcs.ts";
import type { Power } from "../power/power.ts";
import type { MachineRecord } from "../records.ts";
import { inlet, relay, sendFrame } from "../sessions/relay.ts";
import { TICKET_TTL_MS, type Tickets } from "../sessions/tickets.ts";

export interface ConsoleParts {
  mount: Mount;
  mountSocket: MountSocket;
  tickets: Tickets;
  power: Power;
}

const CONSOLE_WITHIN_MS = 20_000;

export function mountMachineConsole(context: Context, { mount, mountSocket, tickets, power }: ConsoleParts): void {
  const { store, now } = context;
  mount(api.machineConsole, async ({ params, signal }) => {
    const { value: machine } = machineCalled(store, params.id);
    switchOf(store, machine);
    const { ok, message, text = "", since } = await power.ask(machine.id, "console", signal);
    if (!ok) throw new Fault("unavailable", `the console of machine ${machine.name}: ${plainText(message)}`);
    return {
      text: Buffer.from(text, "base64").toString("utf8"),
      ...(since === undefined ? {} : { since }),
    };
  });
  const consoleOf = (text: string): MachineRecord => {
    const { value: machine } = machineCalled(store, text);
    if (switchOf(store, machine).kind !== "ipmi")
      throw new Fault(
        "conflict",
        `machine ${machine.name} has no serial console that we know: it needs a BMC set by --ipmi`,
      );
    return machine;
  };
  mount(api.createConsoleSession, ({ params, principal }) => {
    const machine = consoleOf(params.id);
    if (principal.kind !== "token") throw new Error("only tokens have machine:write");
    const ticket = tickets.issue(principal.sha256, fillPath(api.attachConsole.path, { id: machine.id }));
    return { ticket, expiresAt: new Date(now().getTime() + TICKET_TTL_MS).toISOString() };
  });

  /** The boot server's ends that are awaited, by session. */
  const awaited = new Map<string, (socket: WebSocket) => void>();
  mountSocket(api.attachConsole, ({ params, principal }) => {
    const machine = consoleOf(params.id);
    if (principal.kind !== "token") throw new Error("only tokens have machine:write");
    return async (client, signal) => {
      const from = inlet(client);
      const { session, close } = power.openConsole(machine.id, (id) =>
        tickets.issue(principal.sha256, fillPath(serveConsole.path, { session: id })),
      );
      const { promise: came, resolve } = Promise.withResolvers<WebSocket | undefined>();
      awaited.set(session, resolve);
      const late = setTimeout(() => resolve(undefined), CONSOLE_WITHIN_MS);
      const onAbort = () => resolve(undefined);
      signal.addEventListener("abort", onAbort, { once: true });
      const tell = (what: string) =>
        store.commit({
          actor: principal.name,
          mutations: eventChanges(store, now(), {
            type: "machine.console",
            subject: machine.id,
            actor: principal.name,
            message: `the console of machine ${machine.name} ${what}`,
          }),
        });
      try {
        const boot = await came;
        if (signal.aborted) return;
        if (boot === undefined) {
          sendFrame(client, { type: "exit", exit: { reason: "its boot server did not open the console in time" } });
          return;
        }
        await tell("was opened");
        const passed = relay(client, from, boot, { hostName: `boot server of ${machine.name}`, signal });
        boot.resume(); // now there is somebody to take what it sends first
        await passed;
        await tell("was closed");
      } finally {
        clearTimeout(late);
        signal.removeEventListener("abort", onAbort);
        awaited.delete(session);
        close();
      }
    };
  });
  mountSocket(serveConsole, ({ params }) => {
    const take = awaited.get(params.session);
    if (take === undefined) throw new Fault("not-found", "nobody waits for that console");
    return async (socket, signal) => {
      awaited.delete(params.session);
      socket.pause();
      take(socket);
      await new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => resolve(), { once: true });
        if (signal.aborted) resolve();
      });
    };
  });
}

// machine power: switch machines, and see each order to its end; machine console: what a machine writes to its serial port.
import { Transform } from "node:stream";
import type { Client } from "#api/client.ts";
import { isFault } from "#api/fault.ts";
import type { MachineOrder } from "#api/machine-orders.ts";
import { getMachine } from "#api/machines.ts";
import {
  attachConsole,
  BootDevice,
  BootMode,
  createConsoleSession,
  getMachineBmc,
  lookAtMachineBmc,
  machineConsole,
  orderPower,
  type PowerAction,
} from "#api/power.ts";
import { newId } from "#lib/ids.ts";
import { joined } from "#lib/time.ts";
import { withCluster } from "../clusters/connect.ts";
import { runSession, wantsTerminal } from "../jobs/session.ts";
import { choice } from "../machines/choice.ts";
import { followOrder, orderWords } from "../machines/follow-order.ts";
import { answer, answerList } from "../output/answer.ts";
import { plain } from "../output/text.ts";
import type { Command, Flag, Invocation } from "../parse/command.ts";

const MACHINE = { name: "MACHINE", required: true, offers: "machines" } as const;
const MACHINES = { ...MACHINE, rest: true } as const;
const DETACH: Flag = { name: "detach", help: "Do not wait for the end" };
const FORCE: Flag = { name: "force", help: "Cut the power at once, even of a host that jobs run on" };
const BOOT: readonly Flag[] = [
  {
    name: "boot",
    value: "DEVICE",
    help: "Boot it once from pxe, http, disk, bios or media, an ISO of its own (needs a BMC)",
  },
  { name: "mode", value: "MODE", help: "Boot that in mode uefi or legacy" },
];
/** A BMC may take more than half a minute. */
const LOOK_MS = 90_000;

export const powerCommands: readonly Command[] = [
  {
    words: "machine power on",
    summary: "Switch machines on, and wait until they are seen to be",
    args: [MACHINES],
    flags: [...BOOT, DETACH],
    run: (call) => order(call, "on"),
  },
  {
    words: "machine power off",
    summary: "Switch machines off: a host that no job runs on is asked to shut down",
    args: [MACHINES],
    flags: [FORCE, DETACH],
    run: (call) => order(call, "off"),
  },
  {
    words: "machine power cycle",
    summary: "Switch machines off and on again",
    args: [MACHINES],
    flags: [FORCE, ...BOOT, DETACH],
    run: (call) => order(call, "cycle"),
  },
  {
    words: "machine power status",
    summary: "Ask machines' BMCs whether they are on",
    args: [MACHINES],
    run: (call) =>
      withCluster(call, async (client) => {
        const found = [];
        for (const id of call.args) found.push(await status(call, client, id));
        return answerList(call.cli, found, {
          titles: ["NAME", "POWER", "SAYS"],
          row: ({ machine, power, message }) => [machine, power, message],
          none: "no machine was named",
        });
      }),
  },
  {
    words: "machine console",
    summary: "A machine's serial console: what was kept, then as it comes; ~. leaves",
    args: [MACHINE],
    flags: [{ name: "tail", help: "Only show what was kept" }],
    run: openConsole,
  },
];

async function order(call: Invocation, action: PowerAction): Promise<void> {
  const { cli } = call;
  const [boot, mode] = [choice<BootDevice>(call, "boot", BootDevice), choice<BootMode>(call, "mode", BootMode)];
  const body = {
    action,
    ...(call.on("force") ? { force: true } : {}),
    ...(boot === undefined ? {} : { boot }),
    ...(mode === undefined ? {} : { mode }),
  };
  await withCluster(call, async (client) => {
    const orders: MachineOrder[] = [];
    const failures: unknown[] = [];
    for (const id of call.args)
      await client
        .call(orderPower, { params: { id }, body, idempotencyKey: newId("order"), signal: cli.signal })
        .then((made) => orders.push(made), failed);
    const ended: MachineOrder[] = [];
    if (call.on("detach")) ended.push(...orders);
    else for (const one of orders) await followOrder(cli, client, one).then((last) => ended.push(last), failed);
    answer(cli, ended, () => {
      for (const one of ended)
        cli.print(call.on("detach") ? `${one.machine}: ordered, ${one.id} (${one.step})` : orderWords(one));
    });
    for (const error of failures.slice(0, -1)) cli.say(plain(error instanceof Error ? error.message : String(error)));
    if (failures.length > 0) throw failures.at(-1);

    function failed(error: unknown): void {
      if (cli.signal.aborted) throw error;
      failures.push(error);
    }
  });
}

async function status(call: Invocation, client: Client, id: string) {
  const { signal } = call.cli;
  const { id: machineId, name: machine, power } = await client.call(getMachine, { params: { id }, signal });
  const params = { id: machineId };
  const known = power?.state ?? ("unknown" as const);
  try {
    const { kind } = await client.call(getMachineBmc, { params, signal });
    if (kind === "wake") return { machine, machineId, power: known, message: "no BMC: Wake-on-LAN answers nothing" };
    const look = await client.call(lookAtMachineBmc, { params, body: {}, timeoutMs: LOOK_MS, signal });
    return { machine, machineId, power: look.power ?? ("unknown" as const), message: look.message };
  } catch (error) {
    if (!isFault(error) || signal.aborted) throw error;
    return { machine, machineId, power: "unknown" as const, message: error.message };
  }
}

async function openConsole(call: Invocation): Promise<number | undefined> {
  const { cli } = call;
  const { signal } = cli;
  const [id] = call.args as [string];
  return withCluster(call, async (client) => {
    const { id: machineId, name } = await client.call(getMachine, { params: { id }, signal });
    const params = { id: machineId };
    if (call.on("tail")) {
      const kept = await client.call(machineConsole, { params, timeoutMs: LOOK_MS, signal });
      answer(cli, kept, () => {
        if (kept.since === undefined)
          cli.say(`nothing was kept of ${name} yet; flynn machine console ${name} begins to`);
        for (const line of kept.text.split("\n")) cli.print(plain(line.replace(/\x1b\[[0-9;?]*[ -/]*[@-~]/g, "")));
      });
      return undefined;
    }
    const { ticket } = await client.call(createConsoleSession, { params, body: {}, signal });
    const socket = await client.connect(attachConsole, { params, ticket, signal });
    const left = new AbortController();
    const both = joined(signal, left.signal);
    const input = cli.streams.input.pipe(untilLeft(() => left.abort()));
    cli.say(`Console of ${name}; ~. at the start of a line leaves.`);
    try {
      return await runSession({ ...cli, signal: both.signal, streams: { ...cli.streams, input } }, socket, {
        tty: wantsTerminal(cli),
        doing: `opens the console of ${name}`,
      });
    } catch (error) {
      if (!left.signal.aborted || signal.aborted) throw error;
      cli.say(`\nLeft the console of ${name}.`);
      return 0;
    } finally {
      both.release();
      cli.streams.input.unpipe(input);
      cli.streams.input.pause();
    }
  });
}

/** Passes on what is typed, until `~.` comes at the start of a line; `~~` is one `~`, as with ssh. */
export function untilLeft(leave: () => void): Transform {
  let atStart = true;
  let tilde = false;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const out: number[] = [];
      for (const byte of chunk) {
        if (tilde && byte === 0x2e) {
          done(null, Buffer.from(out));
          return leave();
        }
        if (tilde && byte !== 0x7e) out.push(0x7e);
        if (!tilde && atStart && byte === 0x7e) {
          tilde = true;
          continue;
        }
        tilde = false;
        out.push(byte);
        atStart = byte === 0x0d || byte === 0x0a;
      }
      done(null, Buffer.from(out));
    },
  });
}

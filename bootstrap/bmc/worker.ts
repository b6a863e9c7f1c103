// The boot server's work with BMCs: what control wants, whole at each change, carried out one after the other for each BMC. Credentials are
// in memory alone. What an order has seen (its machine off) is in a journal, so that it is not done twice after a restart.
import { join } from "node:path";
import type { BmcAccess, BmcAsk, BmcWork, PowerWork } from "#api/bmc-work.ts";
import type { Log } from "#lib/log.ts";
import { joined } from "#lib/time.ts";
import { openJournal } from "../journal.ts";
import type { MediaRoom } from "../media/room.ts";
import { carryOut, failed } from "./carry-out.ts";
import { type Carrying, STOPS, type Waits } from "./carrying.ts";
import { type ConsoleBook, consoleBook } from "./consoles.ts";
import { type AskAnswer, type ControlSide, reporter } from "./control-side.ts";
import { openSwitch } from "./open.ts";
import { queues } from "./queue.ts";
import { certificateAt } from "./redfish/transport.ts";
import type { Switch } from "./switch.ts";
import { cleanText, trouble, troubleCode } from "./trouble.ts";

export interface BmcWorkerOptions {
  stateDir: string;
  log: Log;
  /** Monotonic time at which a card was heard last. */
  heardAt: (mac: string) => number | undefined;
  wake: (macs: readonly string[]) => Promise<void>;
  /** ISOs of machines; without, none is made. */
  media?: Pick<MediaRoom, "begin"> | undefined;
  open?: (bmc: BmcAccess) => Switch;
  waits?: Waits;
}

export interface BmcWorker {
  setWork(work: BmcWork, control: ControlSide): void;
  close(): Promise<void>;
}

interface Running {
  stop: AbortController;
  ended: Promise<void>;
}

const ASK_MS = 70_000;

export async function bmcWorker(options: BmcWorkerOptions): Promise<BmcWorker> {
  const { stateDir, log, heardAt, wake, media, open = openSwitch, waits } = options;
  /** Turns whose machine was off, and the drives that they put something into. */
  const seen = new Set<string>();
  const orders = new Map<string, Running>();
  const asks = new Map<string, Running>();
  const turns = queues();
  const closing = new AbortController();
  const consoles: ConsoleBook = consoleBook({ log });
  const journal = await openJournal<string>({
    path: join(stateDir, "orders.journal"),
    replay: (one) => void seen.add(one),
    live: () => seen,
    log,
  });
  let term = 0;
  let control: ControlSide;

  async function remember(one: string): Promise<void> {
    seen.add(one);
    await journal.append(one).catch((error: unknown) => {
      log.error({ err: error, one }, "what an order has seen is not on disk");
      throw error;
    });
  }

  async function carry(work: PowerWork, signal: AbortSignal): Promise<void> {
    const { tell, settled } = reporter((report) => control.report(work.order, report, signal), {
      signal,
      onAway: (error) => log.warn({ err: error, order: work.order }, "control is away, the step of an order waits"),
    });
    const carrying: Carrying = {
      open: () => open(work.bmc),
      wake: () => wake(work.bmc.macs),
      heardSince: (sinceMs) => work.bmc.macs.some((mac) => (heardAt(mac) ?? -1) > sinceMs),
      tell(report) {
        log.info({ order: work.order, machine: work.machine, text: report.step }, "order goes on");
        tell(report);
      },
      async begins(report) {
        log.info({ order: work.order, machine: work.machine, text: report.step }, "order goes on");
        await settled();
        return control.begins(work.order, report, signal);
      },
      rememberOff: () => remember(turnOf(work)),
      putIn: {
        has: (drive) => seen.has(putInOf(work, drive)),
        // With a full disk it is forgotten at a restart; that is no reason to leave a machine off.
        add: (drive) => remember(putInOf(work, drive)).catch(() => undefined),
      },
      async media() {
        if (media === undefined) throw trouble("bmc-unsupported", "this boot server makes no ISOs");
        return media.begin(work.order, work.bmc.macs, work.turn);
      },
      ...(waits === undefined ? {} : { waits }),
      signal,
      stopping: closing.signal,
    };
    const end = await turns
      .run(keyOf(work.bmc), async () => {
        signal.throwIfAborted();
        return carryOut({ ...work, seenOff: work.seenOff || seen.has(turnOf(work)) }, carrying);
      })
      .catch((error: unknown) => {
        signal.throwIfAborted();
        log.error({ err: error, order: work.order }, "an order was not carried out");
        return failed(error);
      });
    carrying.tell(end);
    await settled();
  }

  async function ask({ kind, machineId, bmc }: BmcAsk, signal: AbortSignal): Promise<AskAnswer> {
    if (kind === "console") {
      const { text, since } = consoles.kept(machineId);
      return { ok: true, message: "", text, ...(since === undefined ? {} : { since }) };
    }
    return turns.run(keyOf(bmc), async () => {
      if (kind === "certificate") {
        if (bmc.address === undefined) throw trouble("bmc-unset", "no address is set");
        const pinSha256 = await certificateAt(bmc.address, signal);
        return { ok: true, message: "it shows a certificate that nobody accepted yet", pinSha256 };
      }
      const device = open(bmc);
      try {
        const power = await device.power(signal);
        return { ok: true, message: `its BMC says it is ${power}`, power };
      } finally {
        await device.close();
      }
    });
  }

  function begin(
    running: Map<string, Running>,
    id: string,
    work: (signal: AbortSignal) => Promise<void>,
    what: string,
  ): void {
    const stop = new AbortController();
    const { signal, release } = joined(stop.signal, closing.signal);
    const ended = work(signal)
      .catch((error: unknown) => {
        if (!signal.aborted) log.error({ err: error, id }, what);
      })
      .finally(release);
    running.set(id, { stop, ended });
  }

  return {
    setWork(work, side) {
      if (work.term < term) return log.warn({ term: work.term, seen: term }, "orders of an older term refused");
      ({ term } = work);
      control = side;
      const [wanted, asked] = [new Set(work.orders.map(({ order }) => order)), new Set(work.asks.map(({ id }) => id))];
      for (const [running, still] of [
        [orders, wanted],
        [asks, asked],
      ] as const)
        for (const [id, { stop }] of running) {
          if (still.has(id)) continue;
          stop.abort();
          running.delete(id);
          for (const one of seen) if (one.split("#")[0] === id) seen.delete(one);
        }
      // An order that ended here stays in the table until control says that it is over: it is not begun anew.
      for (const one of work.orders)
        if (!orders.has(one.order))
          begin(orders, one.order, (signal) => carry(one, signal), "an order was not carried out");
      for (const one of work.asks)
        if (!asks.has(one.id))
          begin(
            asks,
            one.id,
            async (signal) => {
              const limit = joined(signal, AbortSignal.timeout(ASK_MS));
              const answer = await ask(one, limit.signal)
                .catch((error: unknown): AskAnswer => {
                  const code = limit.signal.aborted ? ("bmc-timeout" as const) : troubleCode(error);
                  if (code === undefined) log.error({ err: error }, "a BMC was not asked");
                  const said =
                    code === "bmc-timeout"
                      ? "its BMC did not answer in time"
                      : error instanceof Error
                        ? error.message
                        : "";
                  return { ok: false, message: cleanText(said, 400), ...(code === undefined ? {} : { code }) };
                })
                .finally(limit.release);
              if (!signal.aborted) await side.answer(one.id, answer, signal);
            },
            "the answer of a BMC was not delivered",
          );
      consoles.setWork(work.consoles, side);
    },
    async close() {
      closing.abort(STOPS);
      await Promise.allSettled([...orders.values(), ...asks.values()].map(({ ended }) => ended));
      await consoles.close();
      await journal.close();
    },
  };
}

/** The same order may switch a machine a second time, and begins anew then. */
const turnOf = ({ order, turn }: PowerWork): string => (turn === undefined ? order : `${order}#${turn}`);

const putInOf = (work: PowerWork, drive: string): string => `${turnOf(work)}#in ${drive}`;

const keyOf = ({ kind, address = "", macs }: BmcAccess): string =>
  kind === "wake" ? `wake ${macs.join(" ")}` : address;

// time limit: 300 s
// Harm at every step of every order that a BMC carries out: it falls silent, is unplugged with its machine, control or the boot server die
// before or after it obeyed, another order crosses, or this one is taken back. Every order ends, and nothing is switched twice.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { postBootEvents } from "#api/boot.ts";
import { isFault } from "#api/fault.ts";
import { bootMachineOnce, reprovisionMachine } from "#api/machine-life.ts";
import {
  cancelMachineOrder,
  getMachineOrder,
  isOver,
  listMachineOrders,
  type MachineOrder,
} from "#api/machine-orders.ts";
import { orderPower, putMachineBmc } from "#api/power.ts";
import { until } from "#lib/time.ts";
import type { Switch } from "../../../bootstrap/bmc/switch.ts";
import { trouble } from "../../../bootstrap/bmc/trouble.ts";
import type { Medium } from "../../../bootstrap/media/room.ts";
import { MAC, QUICK, type World, world } from "./world.ts";

const params = { id: "metal" };
const WAITS = { ...QUICK, hardMs: 600, softMs: 600, onMs: 600, mediaMs: 600, silentMs: 500 };
const BMC = {
  kind: "redfish" as const,
  address: "10.0.0.9",
  user: "flynn",
  password: "geheim12",
  pinSha256: "ab".repeat(32),
};

type Step = "look" | "insert" | "override" | "off" | "on" | "eject";
type When = "before" | "after";

/** A machine and its BMC. What it did is counted by what it obeyed, not by what it was told. */
interface FakeBmc {
  state: "on" | "off";
  did: string[];
  inserted: boolean;
  /** It does not answer: for so many questions, or for ever. */
  silent: number;
  /** Where it stands still, once: `held` resolves when it does. */
  stop(step: Step, when: When): { held: Promise<void>; go: () => void };
  open(): Switch;
  medium(): Medium;
}

function fakeBmc(state: "on" | "off"): FakeBmc {
  let stopping: { step: Step; when: When; hold: () => void; going: Promise<void> } | undefined;
  let booted = false;
  const it: FakeBmc = {
    state,
    did: [],
    inserted: false,
    silent: 0,
    stop(step, when) {
      const held = Promise.withResolvers<void>();
      const going = Promise.withResolvers<void>();
      stopping = { step, when, hold: held.resolve, going: going.promise };
      return { held: held.promise, go: going.resolve };
    },
    open() {
      const pause = async (step: Step, when: When, signal: AbortSignal) => {
        if (stopping?.step !== step || stopping.when !== when) return;
        const { hold, going } = stopping;
        stopping = undefined;
        hold();
        const { promise: gone, reject } = Promise.withResolvers<never>();
        gone.catch(() => undefined);
        signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
        await Promise.race([going, gone]);
      };
      const act = async <T>(step: Step, signal: AbortSignal, obey: () => T): Promise<T> => {
        await pause(step, "before", signal);
        signal.throwIfAborted();
        if (it.silent-- > 0) throw trouble("bmc-timeout", "the BMC did not answer");
        const answer = obey();
        await pause(step, "after", signal);
        if (it.silent-- > 0) throw trouble("bmc-timeout", "the BMC did not answer");
        return answer;
      };
      const becomes = (wanted: "on" | "off") => () => {
        it.did.push(wanted);
        it.state = wanted;
      };
      return {
        power: (signal) => act("look", signal, () => it.state),
        on: (signal) => act("on", signal, becomes("on")),
        off: (_, signal) => act("off", signal, becomes("off")),
        bootOnce: (device, _, signal) => act("override", signal, () => device),
        drive: {
          // It shows no address of what is in: the boot server is to know, after its restart too, that it put it in.
          async insert(_, putIn, signal) {
            await putIn.add("Cd");
            await act("insert", signal, () => {
              if (!it.inserted) it.did.push("insert");
              it.inserted = true;
            });
          },
          eject: (_, putIn, signal) =>
            act("eject", signal, () => {
              if (!it.inserted || !putIn.has("Cd")) return;
              it.did.push("eject");
              it.inserted = false;
            }),
        },
        close: async () => undefined,
      };
    },
    medium: () => ({
      url: "http://10.77.0.1:7780/m/x/boot.iso",
      boots: ["bios", "uefi"],
      // It boots from its drive as soon as it is on; the boot server remembers that over a restart.
      taken() {
        booted ||= it.state === "on" && it.inserted;
        return booted ? { mac: MAC, address: "192.0.2.7" } : undefined;
      },
      end: async () => undefined,
    }),
  };
  return it;
}

interface Kind {
  name: string;
  from: "on" | "off";
  steps: readonly Step[];
  order: (it: World) => Promise<MachineOrder>;
  /** What is left to do when its BMC has done its part. */
  rest?: (it: World, order: MachineOrder) => Promise<void>;
  did: readonly string[];
}

const now = (it: World, { id }: MachineOrder) => it.admin.call(getMachineOrder, { params: { ...params, order: id } });
const KINDS: readonly Kind[] = [
  {
    name: "power-on",
    from: "off",
    steps: ["look", "on"],
    order: ({ admin }) => admin.call(orderPower, { params, body: { action: "on" } }),
    did: ["on"],
  },
  {
    name: "power-on from an ISO",
    from: "off",
    steps: ["look", "insert", "override", "on", "eject"],
    order: ({ admin }) => admin.call(orderPower, { params, body: { action: "on", boot: "media" } }),
    did: ["insert", "on", "eject"],
  },
  {
    name: "power-off",
    from: "on",
    steps: ["look", "off"],
    order: ({ admin }) => admin.call(orderPower, { params, body: { action: "off", force: true } }),
    did: ["off"],
  },
  {
    name: "power-cycle with a network boot",
    from: "on",
    steps: ["look", "override", "off", "on"],
    order: ({ admin }) => admin.call(orderPower, { params, body: { action: "cycle", boot: "pxe", force: true } }),
    did: ["off", "on"],
  },
  {
    name: "boot-once",
    from: "on",
    steps: ["off", "on"],
    order: ({ admin }) => admin.call(bootMachineOnce, { params, body: { target: "rescue", now: true, force: true } }),
    async rest(it, order) {
      const event = { eventId: `given ${order.id}`, at: new Date().toISOString(), stage: "order" as const };
      const { id } = it.boot;
      await it.rig.client({ identity: it.boot }).call(postBootEvents, {
        params: { id },
        body: {
          events: [
            {
              ...{ ...event, level: "info", message: "given once" },
              ...{ claimed: { mac: MAC }, observed: { card: MAC }, detail: { orderId: order.id } },
            },
          ],
        },
      });
    },
    did: ["off", "on"],
  },
  {
    name: "reprovision",
    from: "on",
    steps: ["off", "on"],
    order: ({ admin }) => admin.call(reprovisionMachine, { params, body: {} }),
    // It has no host that could become ready here.
    rest: async ({ admin }, { id }) =>
      void (await admin.call(cancelMachineOrder, { params: { ...params, order: id }, body: {} })),
    did: ["off", "on"],
  },
];

/** To the end, whatever comes of it; what is left when the BMC has done its part is done. */
async function ended(it: World, kind: Kind, order: MachineOrder): Promise<MachineOrder> {
  const { rest } = kind;
  if (rest !== undefined) {
    const isThrough = async () => {
      const shown = await now(it, order);
      return isOver(shown) || shown.detail?.["cycle"] === 0;
    };
    await until(isThrough, { what: `the BMC's part of ${kind.name}`, timeoutMs: 30_000, everyMs: 20 });
    if (!isOver(await now(it, order))) await rest(it, order);
  }
  return it.ended(order);
}

interface Harm {
  name: string;
  when: readonly When[];
  /** At every step, or where something is done alone. */
  acts?: true;
  /** While it stands still. */
  strike: (it: World, bmc: FakeBmc, order: MachineOrder) => Promise<void>;
  /** It passes: the order is done all the same. */
  passes: boolean;
}

const conflict = async (asked: Promise<unknown>): Promise<void> => {
  const error = await asked.catch((refused: unknown) => refused);
  assert.ok(isFault(error, "conflict"), `not refused: ${String(error)}`);
};

const HARMS: readonly Harm[] = [
  {
    name: "the boot server is started anew",
    when: ["before", "after"],
    async strike(it) {
      await it.stopBoot();
      await it.startBoot();
    },
    passes: true,
  },
  { name: "control is started anew", when: ["after"], acts: true, strike: (it) => it.rig.restart(), passes: true },
  {
    name: "both die",
    when: ["after"],
    acts: true,
    async strike(it) {
      await it.stopBoot();
      await it.rig.restart();
      await it.startBoot();
    },
    passes: true,
  },
  {
    name: "its BMC is silent for a moment after it obeyed",
    when: ["after"],
    async strike(_, bmc) {
      bmc.silent = 4;
    },
    passes: true,
  },
  {
    name: "machine and BMC are unplugged",
    when: ["before", "after"],
    acts: true,
    async strike(_, bmc) {
      bmc.silent = Number.POSITIVE_INFINITY;
      bmc.state = "off";
    },
    passes: false,
  },
  {
    name: "other orders cross, and its BMC's settings",
    when: ["before"],
    async strike({ admin }) {
      await conflict(admin.call(orderPower, { params, body: { action: "cycle", force: true } }));
      await conflict(admin.call(bootMachineOnce, { params, body: { target: "rescue", now: true, force: true } }));
      await conflict(admin.call(reprovisionMachine, { params, body: {} }));
      await conflict(admin.call(putMachineBmc, { params, body: BMC }));
    },
    passes: true,
  },
];

const count = (did: readonly string[], what: string) => did.filter((one) => one === what).length;

/** Each step of one kind of order, one after the other, on a cluster of its own. */
async function suffer(harm: Harm, kind: Kind): Promise<void> {
  let bmc = fakeBmc("on");
  await using it = await world({ open: () => bmc.open(), waits: WAITS, media: { begin: async () => bmc.medium() } });
  await it.admin.call(putMachineBmc, { params, body: BMC });
  await it.startBoot();
  for (const step of kind.steps.filter((one) => !harm.acts || (one !== "look" && one !== "override")))
    for (const when of harm.when) {
      const row = `${kind.name}, ${when} ${step}`;
      bmc = fakeBmc(kind.from);
      const { held, go } = bmc.stop(step, when);
      const order = await kind.order(it);
      await held;
      await harm.strike(it, bmc, order);
      go();
      const end = await ended(it, kind, order);
      for (const what of ["on", "off", "insert", "eject"])
        assert.ok(count(bmc.did, what) <= count(kind.did, what), `${row}: ${what} twice: ${bmc.did}`);
      const { items } = await it.admin.call(listMachineOrders, { params });
      assert.ok(items.every(isOver), `${row}: an order is open`);
      if (!harm.passes) {
        const isDone = kind.name === "power-off" || step === "eject"; // it is off, as ordered; it had booted before
        assert.ok(isDone || end.state !== "done", `${row}: ${end.state} ${end.reason}`);
        continue;
      }
      assert.is(end.state, kind.name === "reprovision" ? "cancelled" : "done", `${row}: ${end.reason}`);
      assert.equal([...bmc.did].sort(), [...kind.did].sort(), row);
    }
}

for (const harm of HARMS)
  test(`${harm.name}: at each step of each order`, async () => {
    await Promise.all(KINDS.map((kind) => suffer(harm, kind)));
  });

test("taken back at each step of a cycle it is cancelled while it is on, and refused once its power is cut", async () => {
  let bmc = fakeBmc("on");
  await using it = await world({ open: () => bmc.open(), waits: WAITS });
  await it.admin.call(putMachineBmc, { params, body: BMC });
  await it.startBoot();
  for (const kind of KINDS.filter(({ did }) => did.join() === "off,on"))
    for (const step of kind.steps) {
      bmc = fakeBmc("on");
      const { held, go } = bmc.stop(step, "before");
      const order = await kind.order(it);
      await held;
      const isCut = step === "off" || step === "on";
      const told = async () => !isCut || (await now(it, order)).detail?.[step === "off" ? "cuts" : "seenOff"] === 1;
      await until(told, { what: "control told of it", timeoutMs: 10_000, everyMs: 10 });
      const taken = it.admin.call(cancelMachineOrder, { params: { ...params, order: order.id }, body: {} });
      if (isCut) await conflict(taken);
      else assert.is((await taken).state, "cancelled");
      go();
      await ended(it, kind, order);
      assert.is(bmc.state, "on", `${kind.name}, taken back at ${step}`);
      assert.equal(bmc.did, isCut ? ["off", "on"] : []);
    }
});

test.run();

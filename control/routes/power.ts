// Power: how machines are switched, orders to switch them, their consoles; and the boot server's side of all that.

import type { WebSocket } from "ws";
import { Fault } from "#api/fault.ts";
import { isEnded } from "#api/jobs.ts";
import type { MachineOrder } from "#api/machine-orders.ts";
import * as api from "#api/power.ts";
import { fillPath } from "#api/wire.ts";
import type { Context } from "../context.ts";
import { eventChanges, plainText, timelineChanges } from "../events.ts";
import { stateFeed } from "../feed.ts";
import { machineCalled } from "../find-machine.ts";
import { keys, PREFIX } from "../keys.ts";
import type { MachineOrders } from "../machine-orders/book.ts";
import type { Mount } from "../mount.ts";
import type { MountSocket } from "../mount-socket.ts";
import { type BmcRecord, bmcOf, bmcRecord, checkedBmc, shownBmc } from "../power/bmcs.ts";
import type { Power } from "../power/power.ts";
import { actionOf, hardness, KIND_OF, machineAfterPower } from "../power/rules.ts";
import type { ClusterSettings, HostRecord, MachineRecord } from "../records.ts";
import { inlet, relay, sendFrame } from "../sessions/relay.ts";
import { TICKET_TTL_MS, type Tickets } from "../sessions/tickets.ts";
import type { Entry } from "../store/entry.ts";

export interface PowerParts {
  mount: Mount;
  mountSocket: MountSocket;
  tickets: Tickets;
  orders: MachineOrders;
  power: Power;
}

const FED_BY = [PREFIX.machineOrders, PREFIX.machineBmcs];
const CONSOLE_WITHIN_MS = 20_000;

export function mountPower(context: Context, { mount, mountSocket, tickets, orders, power }: PowerParts): void {
  const { store, now, secrets, jobs } = context;
  const find = (text: string): Entry<MachineRecord> => machineCalled(store, text);
  const bmc = (machine: MachineRecord): BmcRecord => {
    const found = bmcOf(store, machine.id);
    if (found !== undefined) return found;
    throw new Fault(
      "conflict",
      `nothing is known of how machine ${machine.name} is switched; say it, such as: flynn machine bmc set ${machine.name} --redfish https://10.0.0.9 --user root`,
    );
  };
  const refuseUnderOrder = (machine: MachineRecord): void => {
    const open = orders.openOf(machine.id);
    if (open !== undefined && actionOf(open) !== undefined)
      throw new Fault(
        "conflict",
        `machine ${machine.name} is being switched (${open.step}): wait for the end, or take the order back: flynn machine orders ${machine.name} --cancel`,
      );
  };

  mount(api.putMachineBmc, async ({ params, body, principal }) => {
    const { value: machine } = find(params.id);
    refuseUnderOrder(machine);
    const key = keys.machineBmc(machine.id);
    const before = store.get<BmcRecord>(key);
    const { clusterRange } = store.get<ClusterSettings>(keys.cluster)!.value;
    const asked = checkedBmc(body, { kept: before?.value, jobNetwork: clusterRange });
    const at = now().toISOString();
    const value = bmcRecord(secrets, machine.id, asked, { kept: before?.value, at, by: principal.name });
    const how = value.kind === "wake" ? "Wake-on-LAN" : `${value.kind} at ${value.address}, user ${value.user}`;
    const pinned = value.pinSha256 === undefined ? "" : `, certificate ${value.pinSha256.slice(0, 16)}...`;
    const message = `${principal.name} said how it is switched: ${how}${pinned}`;
    const warning = `the BMC of machine ${machine.name} has the user and password that it left its factory with: change them`;
    const events = [
      {
        type: "machine.bmc-set",
        subject: machine.id,
        actor: principal.name,
        message: `machine ${machine.name}: ${message}`,
      },
      ...(value.factoryPassword
        ? [{ type: "machine.bmc-factory-password", subject: machine.id, actor: principal.name, message: warning }]
        : []),
    ];
    await store.commit({
      actor: principal.name,
      expect: [{ key, version: before?.version ?? 0 }],
      mutations: [
        { key, value },
        ...timelineChanges(store, now(), machine.id, [
          value.factoryPassword
            ? { stage: "power", level: "warning", message: `${message}; ${warning}` }
            : { stage: "power", message },
        ]),
        ...eventChanges(store, now(), ...events),
      ],
    });
    power.setLook(machine.id, undefined);
    return shownBmc(value, undefined);
  });
  mount(api.getMachineBmc, ({ params }) => {
    const { value: machine } = find(params.id);
    const found = bmcOf(store, machine.id);
    if (found === undefined)
      throw new Fault("not-found", `nothing is known of how machine ${machine.name} is switched`);
    return shownBmc(found, power.lastLook(machine.id));
  });
  mount(api.deleteMachineBmc, async ({ params, principal }) => {
    const { value: machine } = find(params.id);
    refuseUnderOrder(machine);
    const entry = store.get<BmcRecord>(keys.machineBmc(machine.id));
    if (entry === undefined)
      throw new Fault("not-found", `nothing is known of how machine ${machine.name} is switched`);
    const message = `machine ${machine.name}: how it is switched was forgotten, the credential too`;
    await store.commit({
      actor: principal.name,
      expect: [{ key: entry.key, version: entry.version }],
      mutations: [
        { key: entry.key, value: null },
        ...eventChanges(store, now(), {
          type: "machine.bmc-removed",
          subject: machine.id,
          actor: principal.name,
          message,
        }),
      ],
    });
    power.setLook(machine.id, undefined);
    return {};
  });
  mount(api.lookAtMachineBmc, async ({ params, signal }) => {
    const { value: machine } = find(params.id);
    const record = bmc(machine);
    const at = now().toISOString();
    if (record.kind === "wake")
      throw new Fault(
        "conflict",
        `machine ${machine.name} has no BMC that could be asked: Wake-on-LAN answers nothing`,
      );
    const wants = record.kind === "redfish" && record.pinSha256 === undefined ? "certificate" : "power";
    const { ok, message, code, power: state, pinSha256 } = await power.ask(machine.id, wants, signal);
    const look: api.BmcLook = {
      at,
      ok,
      message: plainText(message),
      ...(code === undefined ? {} : { code }),
      ...(state === undefined ? {} : { power: state }),
      ...(pinSha256 === undefined ? {} : { pinSha256 }),
    };
    power.setLook(machine.id, look);
    const entry = store.get<MachineRecord>(keys.machine(machine.id));
    const next = entry && machineAfterPower(entry.value, { power: state ?? "unknown", at });
    if (entry && next && next !== entry.value && (ok || entry.value.power !== undefined))
      await store.commit({
        actor: "control",
        expect: [{ key: entry.key, version: entry.version }],
        mutations: [{ key: entry.key, value: next }],
      });
    return look;
  });

  mount(api.orderPower, async ({ params, body, principal, idempotent, earlier }) => {
    const made = await earlier<MachineOrder>();
    if (made !== undefined) return orders.get(made.machineId, made.id) ?? made;
    const { value: machine } = find(params.id);
    const record = bmc(machine);
    const { action, force = false, boot, mode } = body;
    if (record.kind === "wake" && (action !== "on" || boot !== undefined))
      throw new Fault(
        "conflict",
        `machine ${machine.name} has no BMC: Wake-on-LAN switches it on and nothing else; say how: flynn machine bmc set ${machine.name}`,
      );
    if (record.kind === "redfish" && record.pinSha256 === undefined)
      throw new Fault(
        "conflict",
        `the certificate of the BMC of machine ${machine.name} was not accepted yet: flynn machine bmc set ${machine.name} shows it and asks`,
      );
    if (boot !== undefined && action === "off")
      throw new Fault("invalid", "boot: only what is switched on boots", { details: { field: "boot" } });
    if (mode !== undefined && boot === undefined)
      throw new Fault("invalid", "mode: says how `boot` is booted, so it needs one", { details: { field: "mode" } });
    const host = machine.hostId === undefined ? undefined : store.get<HostRecord>(keys.host(machine.hostId))?.value;
    const hostLives = host !== undefined && host.state !== "lost" && machine.state !== "off";
    const { hard } = hardness({
      action,
      force,
      jobs: hostLives ? jobs.onHost(host.id).filter((job) => !isEnded(job)).length : 0,
      hostLives,
      hostName: host?.name ?? machine.name,
      ownSystem: machine.target === "local-disk",
    });
    const there = power.serverOf(machine.id) !== undefined;
    return orders.open({
      machine,
      kind: KIND_OF[action],
      actor: principal.name,
      step: there ? "waits for its boot server" : "waits for a boot server; none is there now",
      detail: {
        ...(action === "on" ? {} : { hard: hard ? 1 : 0 }),
        ...(boot === undefined ? {} : { boot }),
        ...(mode === undefined ? {} : { mode }),
      },
      idempotent,
    });
  });
  for (const kind of Object.values(KIND_OF))
    orders.cancelsBy(kind, (order) => {
      if (order.detail?.["seenOff"] === 1)
        throw new Fault(
          "conflict",
          `machine ${order.machine} is off for its order ${order.id} and is being switched on: it would stay off`,
        );
      return [];
    });

  mount(api.machineConsole, async ({ params, signal }) => {
    const { value: machine } = find(params.id);
    bmc(machine);
    const { ok, message, text = "", since } = await power.ask(machine.id, "console", signal);
    if (!ok) throw new Fault("unavailable", `the console of machine ${machine.name}: ${plainText(message)}`);
    return {
      text: Buffer.from(text, "base64").toString("utf8"),
      ...(since === undefined ? {} : { since }),
    };
  });
  const consoleOf = (text: string): MachineRecord => {
    const { value: machine } = find(text);
    if (bmc(machine).kind !== "ipmi")
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
        tickets.issue(principal.sha256, fillPath(api.serveConsole.path, { session: id })),
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
  mountSocket(api.serveConsole, ({ params }) => {
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

  mount(
    api.bmcWork,
    ({ params }) => power.work(params.id),
    ({ signal, params }) =>
      stateFeed({
        subscribe: (wake) => {
          const left = power.follows(params.id, wake);
          const stop = store.onDurable((record) => {
            if (record.mutations.some(({ key }) => FED_BY.some((prefix) => key.startsWith(prefix)))) wake();
          });
          return () => {
            stop();
            left();
          };
        },
        build: () => power.work(params.id),
        id: () => String(store.durableSeq),
        signal,
      }),
  );
  mount(api.reportOrder, async ({ params, body }) => {
    await power.report(params.id, params.order, body);
    return {};
  });
  mount(api.answerBmcAsk, ({ params, body }) => {
    power.answer(params.id, params.ask, body);
    return {};
  });
}

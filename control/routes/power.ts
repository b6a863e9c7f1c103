// Power, for people: how machines are switched, and orders to switch them.
import { Fault } from "#api/fault.ts";
import { isEnded } from "#api/jobs.ts";
import type { MachineOrder } from "#api/machine-orders.ts";
import * as api from "#api/power.ts";
import type { Context } from "../context.ts";
import { eventChanges, plainText, timelineChanges } from "../events.ts";
import { machineCalled } from "../find-machine.ts";
import { keys } from "../keys.ts";
import type { MachineOrders } from "../machine-orders/book.ts";
import type { Mount } from "../mount.ts";
import { type BmcRecord, bmcOf, bmcRecord, checkedBmc, shownBmc, switchOf } from "../power/bmcs.ts";
import type { Power } from "../power/power.ts";
import { actionOf, hardness, KIND_OF, machineAfterPower, staysOff } from "../power/rules.ts";
import type { ClusterSettings, HostRecord, MachineRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";

export interface PowerParts {
  mount: Mount;
  orders: MachineOrders;
  power: Power;
}

export function mountPower(context: Context, { mount, orders, power }: PowerParts): void {
  const { store, now, secrets, jobs } = context;
  const find = (text: string): Entry<MachineRecord> => machineCalled(store, text);
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
    const record = switchOf(store, machine);
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
    const record = switchOf(store, machine);
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
    if (boot === "media" && record.kind !== "redfish")
      throw new Fault(
        "conflict",
        `the BMC of machine ${machine.name} is spoken to by IPMI, which has no virtual drive: order pxe, or set it with --redfish`,
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
      const why = staysOff(order);
      if (why !== undefined) throw why;
      return [];
    });
}

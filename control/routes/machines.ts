// Machines: list, approve, change, forget; their timeline and what the boot doctor says of it.

import type { Profile } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import type { MachineInventory } from "#api/inventory.ts";
import * as machines from "#api/machines.ts";
import type { StreamEvent } from "#api/stream.ts";
import { createWake } from "#lib/wake.ts";
import type { Context } from "../context.ts";
import { circumstancesOf } from "../doctor/circumstances.ts";
import { diagnose } from "../doctor/diagnose.ts";
import { eventChanges, type NewTimelineEvent, timelineChanges } from "../events.ts";
import { machineCalled } from "../find-machine.ts";
import { adoptedBy, approvedAfter, refuseStale, rejectedAfter } from "../identity/machine-decision.ts";
import { keys, PREFIX } from "../keys.ts";
import { decidedAnew } from "../machine-life/life.ts";
import { afterDecision } from "../machine-life/records.ts";
import type { Mount } from "../mount.ts";
import { page } from "../paging.ts";
import type { MachineRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Change } from "../store/store.ts";

const IDLE_MS = 60_000;
type Step = Omit<NewTimelineEvent, "machineId">;

export function mountMachines(mount: Mount, context: Context): void {
  const { store, now } = context;

  const find = (text: string) => machineCalled(store, text);
  const timeline = (id: string, bootId?: string) =>
    store
      .list<machines.TimelineEvent>(keys.timelineOf(id))
      .map(({ value }) => value)
      .filter((event) => bootId === undefined || event.bootId === bootId);
  const change = async (
    entry: Entry<MachineRecord>,
    changed: Partial<MachineRecord>,
    actor: string,
    message: string,
    { version = entry.version, step, decides }: { version?: number | undefined; step?: Step; decides?: boolean } = {},
  ): Promise<machines.Machine> => {
    const decided = decides ? afterDecision(store, entry.value) : { machine: entry.value, changes: [] };
    const value: MachineRecord = { ...decided.machine, ...changed };
    if (value.pending === undefined) delete value.pending;
    if (value.approvedAt !== undefined || value.state === "rejected") delete value.check; // nothing to compare any more
    const all = store.list<MachineRecord>(PREFIX.machines);
    if (all.some((other) => other.value.name === value.name && other.value.id !== value.id))
      throw new Fault("conflict", `a machine is named ${value.name} already`);
    if (store.get<Profile>(keys.profile(value.profile)) === undefined)
      throw new Fault("not-found", `no profile ${value.profile}`);
    await store.commit({
      actor,
      expect: [{ key: entry.key, version }],
      mutations: [
        { key: entry.key, value },
        ...decided.changes,
        ...(step === undefined ? [] : timelineChanges(store, now(), value.id, [step])),
        ...eventChanges(store, now(), { type: "machine.changed", subject: value.id, actor, message }),
      ],
    });
    return value;
  };

  const gone = (id: string): Change[] => [
    { key: keys.machine(id), value: null },
    ...[
      keys.machineBmc(id),
      keys.machineDisks(id),
      keys.machineWipe(id),
      keys.machineInventory(id),
      keys.machineLife(id),
    ].flatMap((key) => (store.get(key) ? { key, value: null } : [])),
    ...store.list(keys.machineOrdersOf(id)).map(({ key }) => ({ key, value: null })),
    ...store.list(keys.timelineOf(id)).map(({ key }) => ({ key, value: null })),
  ];

  mount(machines.listMachines, ({ query }) =>
    page(
      store
        .list<MachineRecord>(PREFIX.machines)
        .filter(({ value }) => query.state === undefined || value.state === query.state),
      query,
      ({ value }) => value,
    ),
  );
  mount(machines.getMachine, ({ params, etag }) => {
    const entry = find(params.id);
    etag(entry.version);
    return entry.value;
  });
  mount(machines.updateMachine, ({ params, body, principal, ifMatch }) => {
    const entry = find(params.id);
    if (body.target === "boot" && entry.value.approvedAt === undefined)
      throw new Fault(
        "conflict",
        `machine ${entry.value.name} is not approved; see \`flynn machine approve ${entry.value.name}\``,
      );
    const tags = Object.fromEntries(
      Object.entries({ ...entry.value.tags, ...body.tags }).filter((tag): tag is [string, string] => tag[1] !== null),
    );
    const { name = entry.value.name, profile = entry.value.profile, target = entry.value.target } = body;
    return change(entry, { name, profile, target, tags }, principal.name, `machine ${entry.value.name} was changed`, {
      version: ifMatch,
      decides: profile !== entry.value.profile || body.target !== undefined,
    });
  });
  mount(machines.approveMachine, ({ params, body, principal, ifMatch }) => {
    const entry = find(params.id);
    const { name = entry.value.name, profile = entry.value.profile } = body;
    const { pending } = entry.value;
    if (pending?.kind === "new-card")
      throw new Fault(
        "conflict",
        `machine ${entry.value.name} ${pending.reason}; to make it a machine of its own, reject it first`,
      );
    if (ifMatch === undefined) refuseStale(entry.value, body.claim);
    // The TPM that the person's words stood for; of a host, the one that its own certificate vouches for.
    const inventory = store.get<MachineInventory>(keys.machineInventory(entry.value.id))?.value;
    const isRead = inventory?.check !== undefined && inventory.check.claim === entry.value.check?.claim;
    const tpm = isRead || inventory?.takenBy === "host" ? inventory.report.tpm?.id : undefined;
    const decided = approvedAfter(decidedAnew(entry.value), principal.name, now());
    const approved = { ...decided, name, profile, ...(tpm ? { tpm } : {}) };
    const { check, fallback } = entry.value;
    const accepted =
      pending?.kind === "changed"
        ? `; accepted: ${pending.reason}`
        : check && entry.value.approvedAt === undefined
          ? `; its six words were: ${check.words}${check.by === "key" ? "" : " (of its claim alone)"}`
          : "";
    const isNews = entry.value.approvedAt === undefined || pending !== undefined || fallback !== undefined;
    return change(entry, approved, principal.name, `machine ${name} was approved${accepted}`, {
      version: ifMatch,
      decides: true,
      ...(isNews ? { step: { stage: "approved", message: `approved by ${principal.name}${accepted}` } } : {}),
    });
  });
  mount(machines.rejectMachine, ({ params, body, principal, ifMatch }) => {
    const entry = find(params.id);
    const { name, pending, hostId, approvedAt } = entry.value;
    if (ifMatch === undefined) refuseStale(entry.value, body.claim);
    if (approvedAt !== undefined && pending === undefined && hostId && store.get(keys.host(hostId)))
      throw new Fault(
        "conflict",
        `machine ${name} is a host, and nothing of it waits for a decision; remove the host first: flynn host remove ${name}`,
      );
    if (approvedAt !== undefined && pending === undefined && ifMatch === undefined && !body.revoke)
      throw new Fault(
        "conflict",
        `machine ${name} is approved, and nothing of it waits for a decision; to take its approval back: flynn machine reject --revoke ${name}`,
      );
    const what = pending ? `: ${pending.reason}` : "";
    return change(entry, rejectedAfter(entry.value), principal.name, `machine ${name} was rejected${what}`, {
      version: ifMatch,
      step: { stage: "note", message: `rejected by ${principal.name}${what}` },
    });
  });
  mount(machines.adoptMachine, async ({ params, body, principal, ifMatch }) => {
    const [entry, card] = [find(params.id), find(body.card)];
    refuseStale(card.value, body.claim);
    const value = adoptedBy(entry.value, card.value);
    const { name } = value;
    const message = `machine ${name} has one more card, ${card.value.macs.join(" ")}, known as ${card.value.name} until now`;
    await store.commit({
      actor: principal.name,
      expect: [
        { key: entry.key, version: ifMatch ?? entry.version },
        { key: card.key, version: card.version },
      ],
      mutations: [
        { key: entry.key, value },
        ...gone(card.value.id),
        ...timelineChanges(store, now(), value.id, [
          { stage: "approved", message: `${message}; by ${principal.name}` },
        ]),
        ...eventChanges(store, now(), { type: "machine.changed", subject: value.id, actor: principal.name, message }),
      ],
    });
    return value;
  });
  mount(machines.deleteMachine, async ({ params, principal, ifMatch }) => {
    const entry = find(params.id);
    if (entry.value.hostId && store.get(keys.host(entry.value.hostId)))
      throw new Fault("conflict", `machine ${entry.value.name} is a host of the cluster; remove the host first`);
    await store.commit({
      actor: principal.name,
      expect: [{ key: entry.key, version: ifMatch ?? entry.version }],
      mutations: [
        ...gone(entry.value.id),
        ...eventChanges(store, now(), {
          type: "machine.removed",
          subject: entry.value.id,
          actor: principal.name,
          message: `machine ${entry.value.name} was forgotten`,
        }),
      ],
    });
    return {};
  });
  mount(
    machines.machineTimeline,
    ({ params, query }) => {
      const { id } = find(params.id).value;
      const events = timeline(id, query.bootId).map((value) => ({ key: keys.timeline(id, value.seq), value }));
      return page(events, query, ({ value }) => value);
    },
    async function* ({ params, query, signal, lastEventId }): AsyncGenerator<StreamEvent<machines.TimelineEvent>> {
      const { id } = find(params.id).value;
      let after = Number(lastEventId ?? 0) || 0;
      const woken = createWake();
      const stop = store.onDurable((record) => {
        if (record.mutations.some(({ key }) => key.startsWith(keys.timelineOf(id)))) woken.ring();
      });
      try {
        for (let first = true; !signal.aborted; first = false) {
          for (const event of timeline(id, query.bootId)) {
            if (event.seq <= after) continue;
            after = event.seq;
            yield { event: "item", id: String(event.seq), data: event };
          }
          if (first) yield { event: "current" };
          await woken.wait(IDLE_MS, signal);
        }
      } finally {
        stop();
      }
    },
  );
  mount(machines.explainMachine, ({ params }) => {
    const { value: machine } = find(params.id);
    return diagnose(machine, timeline(machine.id), circumstancesOf(context, machine));
  });
}

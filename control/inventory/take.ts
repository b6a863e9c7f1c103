// An inventory that came in becomes the machine's: of one that waits for approval by its boot server, of a host by itself. Before
// approval the six words follow from the agent's key, and a decision binds to them. Nothing in a report changes what was approved.
import { Ajv } from "ajv";
import { checkOf } from "#api/check-words.ts";
import type { Body } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";
import { InventoryReport, type MachineInventory, type reportMachineInventory, signedReport } from "#api/inventory.ts";
import { outcomeOf, sameUuid } from "#api/machine-identity.ts";
import type { CheckWords } from "#api/machines.ts";
import type { Context } from "../context.ts";
import { eventChanges, type NewEvent, timelineChanges } from "../events.ts";
import { approvedOf } from "../identity/observe.ts";
import { keys, PREFIX } from "../keys.ts";
import type { HostRecord, MachineRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import { inventoryLine, inventoryTroubles } from "./words.ts";

export type WaitingReport = Body<typeof reportMachineInventory>;

/** An agent asks every few seconds; another key while the former was heard so recently is two agents in one card's name. */
const OVERLAP_MS = 20_000;

const isReport = new Ajv({ strict: false, validateSchema: false }).compile<InventoryReport>(InventoryReport);

/** The report of a machine that waits, judged as everything else is that comes from the boot network. */
export async function takeWaiting({ store, now }: Context, actor: string, sent: WaitingReport): Promise<string> {
  const said = signedReport(sent, sent.mac);
  if (!isReport(said)) {
    const [problem] = isReport.errors ?? [];
    throw new Fault("invalid", `the inventory is wrong at ${problem?.instancePath || "its top"}: ${problem?.message}`);
  }
  const entry = store.list<MachineRecord>(PREFIX.machines).find(({ value }) => value.macs.includes(sent.mac)) as
    | Entry<MachineRecord>
    | undefined;
  if (entry === undefined) throw new Fault("not-found", `no machine with card ${sent.mac} is known yet`);
  const machine = entry.value;
  const { uuid, serial, mac } = said;
  const outcome = outcomeOf({ mac, uuid, serial }, sent.observed, { ofCard: approvedOf(machine) });
  if (sent.ordered && outcome.kind === "boot") return takeOrdered({ store, now }, entry, { actor, said });
  if (outcome.kind !== "discovered")
    throw new Fault("conflict", `an inventory of machine ${machine.name} is not asked for (${outcome.kind})`);
  const at = now();
  const check: CheckWords = { ...checkOf({ mac, uuid, serial }, sent.key), by: "key", at: sent.at };
  const isNews = machine.check?.claim !== check.claim;
  const troubles = [...inventoryTroubles(said), ...contradictions(machine, said)];
  const told: NewEvent[] = [];
  if (isTwoAgents(machine, check))
    told.push({
      type: "machine.words-changed",
      subject: machine.id,
      actor,
      message: `machine ${machine.name}: another agent reports from its card; the six words were "${machine.check!.words}" and are "${check.words}" now: compare them with its console`,
    });
  const kept: MachineInventory = {
    machineId: machine.id,
    takenBy: "waiting",
    at: at.toISOString(),
    check,
    report: said,
  };
  await store.commit({
    actor,
    expect: [{ key: entry.key, version: entry.version }],
    mutations: [
      { key: keys.machineInventory(machine.id), value: kept },
      { key: entry.key, value: { ...machine, check, lastSeenAt: at.toISOString() } },
      ...(isNews ? timelineChanges(store, at, machine.id, steps(said, troubles, check)) : []),
      ...(told.length > 0 ? eventChanges(store, at, ...told) : []),
    ],
  });
  return machine.id;
}

/** Of an approved machine, in a boot that a person ordered for it: nothing is bound to it, and no decision follows. */
async function takeOrdered(
  { store, now }: Pick<Context, "store" | "now">,
  { value: machine }: Entry<MachineRecord>,
  { actor, said }: { actor: string; said: InventoryReport },
): Promise<string> {
  const at = now();
  const key = keys.machineInventory(machine.id);
  const before = store.get<MachineInventory>(key);
  const kept: MachineInventory = { machineId: machine.id, takenBy: "order", at: at.toISOString(), report: said };
  const changes = before === undefined ? [] : partsChanged(before.value.report, said);
  const told = steps(said, [...inventoryTroubles(said), ...contradictions(machine, said), ...changes]);
  await store.commit({
    actor,
    expect: [{ key, version: before?.version ?? 0 }],
    mutations: [{ key, value: kept }, ...timelineChanges(store, at, machine.id, told)],
  });
  return machine.id;
}

/** A host's own, once a boot; of a host that no boot server started nothing is kept. */
export async function takeHosts({ store, now }: Context, hostId: string, actor: string, report: InventoryReport) {
  const machineId = store.get<HostRecord>(keys.host(hostId))?.value.machineId;
  const machine = machineId === undefined ? undefined : store.get<MachineRecord>(keys.machine(machineId))?.value;
  if (machine === undefined) return;
  const at = now();
  const key = keys.machineInventory(machine.id);
  const before = store.get<MachineInventory>(key);
  const kept: MachineInventory = { machineId: machine.id, takenBy: "host", at: at.toISOString(), report };
  const changes = before === undefined ? [] : partsChanged(before.value.report, report);
  const own = steps(report, [...inventoryTroubles(report), ...changes]);
  await store.commit({
    actor,
    expect: [{ key, version: before?.version ?? 0 }],
    mutations: [
      { key, value: kept },
      ...timelineChanges(
        store,
        at,
        machine.id,
        own.map((step) => ({ ...step, bootId: machine.bootId })),
      ),
    ],
  });
}

function steps(report: InventoryReport, troubles: readonly string[], check?: CheckWords) {
  const words = check ? `; its six words are: ${check.words}` : "";
  return [
    { stage: "inventory" as const, level: "info" as const, message: `it is made of ${inventoryLine(report)}${words}` },
    ...troubles.map((message) => ({ stage: "inventory" as const, level: "warning" as const, message })),
  ];
}

function isTwoAgents({ check: before }: MachineRecord, after: CheckWords): boolean {
  if (before === undefined || before.by !== "key" || before.claim === after.claim) return false;
  return Date.parse(after.at) - Date.parse(before.at) < OVERLAP_MS;
}

/** What its agent says of itself and its firmware said otherwise. */
function contradictions({ identity }: MachineRecord, { uuid, serial }: InventoryReport): string[] {
  const found: string[] = [];
  if (identity.uuid !== undefined && uuid !== undefined && !sameUuid(identity.uuid, uuid))
    found.push(
      `its agent says UUID ${uuid}, its firmware said ${identity.uuid}: do not approve it before you know why`,
    );
  if (identity.serial !== undefined && serial !== undefined && identity.serial !== serial)
    found.push(
      `its agent says serial ${serial}, its firmware said ${identity.serial}: do not approve it before you know why`,
    );
  return found;
}

/** In words, what is there no more or is new since the report before. Pure. */
export function partsChanged(before: InventoryReport, after: InventoryReport): string[] {
  const compare = (noun: string, was: readonly string[], is: readonly string[]) => [
    ...was.filter((one) => !is.includes(one)).map((one) => `${noun} ${one} is gone since its last inventory`),
    ...is.filter((one) => !was.includes(one)).map((one) => `${noun} ${one} is new since its last inventory`),
  ];
  const disks = ({ disks: all }: InventoryReport) => all.flatMap(({ serial, wwn }) => serial ?? wwn ?? []);
  const cards = ({ nics }: InventoryReport) => nics.flatMap(({ mac }) => mac ?? []);
  const dimms = ({ memory }: InventoryReport) =>
    memory.dimms.filter(({ sizeBytes }) => sizeBytes > 0).map(({ slot, serial = "" }) => `${slot} ${serial}`.trim());
  return [
    ...compare("disk", disks(before), disks(after)),
    ...compare("network card", cards(before), cards(after)),
    ...compare("memory module", dimms(before), dimms(after)),
  ].slice(0, 16);
}

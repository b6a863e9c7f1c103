// machine wipe: shows a machine's disks and what is on them, and gives one of them up, typed out by a person.
import type { Client } from "#api/client.ts";
import {
  cancelMachineWipe,
  getMachineDisks,
  type MachineDisk,
  type MachineDisks,
  wipeMachineDisk,
} from "#api/disks.ts";
import { Fault } from "#api/fault.ts";
import { cancelMachineOrder, isOver, listMachineOrders } from "#api/machine-orders.ts";
import { getMachine } from "#api/machines.ts";
import { startMachineWipe } from "#api/wipes.ts";
import { formatSize } from "#lib/units.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { followOrder, orderWords } from "../machines/follow-order.ts";
import { age, answer } from "../output/answer.ts";
import { CONFIRM, confirm } from "../output/confirm.ts";
import { printTable } from "../output/table.ts";
import type { Cli, Command, Invocation } from "../parse/command.ts";

/** Of a fingerprint, as people see and type it. */
const SHOWN = 12;

export const wipeCommand: Command = {
  words: "machine wipe",
  summary: "Erase a machine's disk and read it back; without DISK, show its disks",
  more: [
    "  flynn machine wipe node-1",
    "  flynn machine wipe node-1 /dev/sda --confirm node-1/0123456789ab",
    "  flynn machine wipe node-1 /dev/sda --take --confirm node-1/0123456789ab",
    "  flynn machine wipe node-1 --all --confirm node-1/3",
    "  flynn machine wipe node-1 --cancel",
    "",
    "DISK is a path, a serial number, a WWN or the beginning of a fingerprint. The machine's host erases it while it runs,",
    "only while it holds what it held when it was listed, and proves it: machine disks --proofs. --take instead erases it at",
    "the next boot and keeps the host's state on it. --all is for giving a machine away: the disk with its host's state is",
    "wiped after a reboot, so drain the host first. All that is on a disk is lost.",
  ].join("\n"),
  args: [{ name: "MACHINE", required: true, offers: "machines" }, { name: "DISK" }],
  flags: [
    { ...CONFIRM, value: "MACHINE/FINGERPRINT" },
    { name: "all", help: "Every disk that can be wiped; confirmed by machine name and count" },
    { name: "take", help: "At the next boot, and for the host's state, as its profile's disk policy allows" },
    {
      name: "method",
      value: "HOW",
      help: "auto (discard where the disk has it, zeros where it does not read as zero then), zero, discard or secure",
    },
    { name: "verify", value: "HOW", help: "all: every byte is read back. samples: both ends and 64 samples" },
    { name: "detach", help: "Do not wait for the end" },
    { name: "cancel", help: "Take back an order; what was erased by then is lost" },
  ],
  run: wipe,
};

async function wipe(call: Invocation): Promise<void> {
  const { cli } = call;
  const [text, wanted] = call.args;
  await withCluster(call, async (client) => {
    const { signal } = cli;
    const machine = await client.call(getMachine, { params: { id: text! }, signal });
    const params = { id: machine.id };
    if (call.on("cancel")) {
      if (wanted !== undefined) throw new Fault("invalid", "--cancel takes no DISK: a machine has one order at most");
      return cancel(cli, client, machine);
    }
    const known = await client.call(getMachineDisks, { params, signal });
    if (call.on("all")) {
      if (wanted !== undefined || call.on("take")) throw new Fault("invalid", "--all takes no DISK and no --take");
      const disks = known.disks.filter(({ canWipe }) => canWipe);
      const left = known.disks.filter(({ canWipe }) => !canWipe);
      if (disks.length === 0)
        throw new Fault("not-found", `machine ${machine.name} reported no disk that can be wiped`);
      for (const { path, holds } of left) cli.say(`${path} ${holds}: it is not wiped`);
      const what = disks.map(({ path, sizeBytes }) => `${path} (${formatSize(sizeBytes)})`).join(", ");
      await confirm(
        call,
        `${machine.name}/${disks.length}`,
        `all that is on ${disks.length} disks of ${machine.name} is lost: ${what}.`,
      );
      return start(call, client, machine.id, disks);
    }
    if (wanted === undefined) return show(cli, machine.name, known);
    const disk = pick(machine.name, known.disks, wanted);
    const about = [disk.path, disk.model, disk.serial, formatSize(disk.sizeBytes)].filter(Boolean).join(", ");
    if (!disk.canWipe) throw new Fault("conflict", `${disk.path} ${disk.holds}; it cannot be wiped. Nothing was done`);
    const name = `${machine.name}/${disk.fingerprint.slice(0, SHOWN)}`;
    const held = [`it ${disk.holds}`, ...(disk.contents ?? [])].join("; ");
    await confirm(call, name, `all that is on ${about} of ${machine.name} is lost: ${held}.`);
    if (!call.on("take")) return start(call, client, machine.id, [disk]);
    const order = await client.call(wipeMachineDisk, { params, body: { fingerprint: disk.fingerprint }, signal });
    answer(cli, order, () => {
      cli.print(`${disk.path} of ${machine.name} is erased at its next boot, if it still holds the same then.`);
      cli.say(`To take this back before that: flynn machine wipe ${machine.name} --cancel`);
    });
  });
}

async function start(call: Invocation, client: Client, id: string, disks: readonly MachineDisk[]): Promise<void> {
  const { cli } = call;
  const { signal } = cli;
  const word = <T extends string>(flag: string, words: readonly T[]): T | undefined => {
    const given = call.text(flag);
    if (given === undefined) return undefined;
    const found = words.find((one) => one === given);
    if (found === undefined) throw new Fault("invalid", `--${flag} ${given}: it is ${words.join(", ")}`);
    return found;
  };
  const method = word("method", ["auto", "zero", "discard", "secure"]);
  const verify = word("verify", ["all", "samples"]);
  const order = await client.call(startMachineWipe, {
    params: { id },
    body: {
      fingerprints: disks.map(({ fingerprint }) => fingerprint),
      ...(method === undefined ? {} : { method }),
      ...(verify === undefined ? {} : { verify }),
    },
    signal,
  });
  cli.say(`order ${order.id}: ${order.step}. To stop it: flynn machine wipe ${order.machine} --cancel`);
  const ended = call.on("detach") ? order : await followOrder(cli, client, order);
  answer(cli, ended, () => {
    cli.print(`${orderWords(ended)}`);
    if (ended.state === "done") cli.say(`the proof: flynn machine disks ${ended.machine} --proofs`);
  });
}

/** The order for the next boot, or the one that is being carried out. */
async function cancel(cli: Cli, client: Client, { id, name }: { id: string; name: string }): Promise<void> {
  const { signal } = cli;
  const params = { id };
  const orders = await listAll(client, listMachineOrders, { params, signal });
  const open = orders.find((order) => order.kind === "wipe" && !isOver(order));
  if (open === undefined) await client.call(cancelMachineWipe, { params, signal });
  else await client.call(cancelMachineOrder, { params: { id, order: open.id }, body: {}, signal });
  answer(cli, { machine: name, ...(open ? { order: open.id } : {}) }, () => {
    cli.print(`No disk of ${name} is going to be wiped.`);
    if (open?.state === "running")
      cli.say(`It had begun (${open.step}); what is lost is on its timeline: flynn machine timeline ${name}`);
  });
}

function pick(machine: string, disks: readonly MachineDisk[], wanted: string): MachineDisk {
  const found = disks.filter(
    ({ path, serial, wwn, fingerprint }) =>
      [path, serial, wwn].includes(wanted) || (wanted.length >= SHOWN && fingerprint.startsWith(wanted.toLowerCase())),
  );
  if (found.length === 1) return found[0]!;
  const have = disks.map(({ path }) => path).join(", ") || "none";
  if (found.length === 0) throw new Fault("not-found", `machine ${machine} reported no disk ${wanted}; it has ${have}`);
  throw new Fault("invalid", `${found.length} disks of ${machine} are named ${wanted}; give the fingerprint`);
}

function show(cli: Cli, machine: string, known: MachineDisks): void {
  answer(cli, known, () => {
    if (known.seenAt === undefined)
      return cli.say(`${machine} has not reported its disks yet; it does when it has booted as a host`);
    printTable(
      cli,
      ["DISK", "MODEL", "SERIAL", "WWN", "SIZE", "FINGERPRINT", "HOLDS"],
      known.disks.map((disk) => [
        disk.path,
        disk.model ?? "",
        disk.serial ?? "",
        disk.wwn ?? "",
        formatSize(disk.sizeBytes),
        disk.fingerprint.slice(0, SHOWN),
        disk.holds,
      ]),
    );
    const { order, last } = known;
    cli.say(`as seen ${age(known.seenAt)} ago, at its last boot`);
    if (order)
      cli.say(`${order.path} is erased at the next boot, as ${order.orderedBy} ordered ${age(order.orderedAt)} ago`);
    else if (last) cli.say(`the last order: ${last.reason}`);
  });
}

// machine wipe: shows a machine's disks and what is on them, and gives one of them up, typed out by a person.
import {
  cancelMachineWipe,
  getMachineDisks,
  type MachineDisk,
  type MachineDisks,
  wipeMachineDisk,
} from "#api/disks.ts";
import { Fault } from "#api/fault.ts";
import { getMachine } from "#api/machines.ts";
import { formatSize } from "#lib/units.ts";
import { withCluster } from "../clusters/connect.ts";
import { age, answer } from "../output/answer.ts";
import { CONFIRM, confirm } from "../output/confirm.ts";
import { printTable } from "../output/table.ts";
import type { Cli, Command, Invocation } from "../parse/command.ts";

/** Of a fingerprint, as people see and type it. */
const SHOWN = 12;

export const wipeCommand: Command = {
  words: "machine wipe",
  summary: "Show a machine's disks; with DISK, order that one erased and taken at the next boot",
  more: [
    "  flynn machine wipe node-1",
    "  flynn machine wipe node-1 /dev/sda --confirm node-1/0123456789ab",
    "  flynn machine wipe node-1 --cancel",
    "",
    "DISK is a path, a serial number, a WWN or the beginning of a fingerprint. The order is good for one boot, and only while",
    "the disk holds what it held when it was listed. All that is on it is lost.",
  ].join("\n"),
  args: [{ name: "MACHINE", required: true, offers: "machines" }, { name: "DISK" }],
  flags: [
    { ...CONFIRM, value: "MACHINE/FINGERPRINT" },
    { name: "cancel", help: "Take back an order that has not begun" },
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
      await client.call(cancelMachineWipe, { params, signal });
      return answer(cli, { machine: machine.name }, () =>
        cli.print(`No disk of ${machine.name} is going to be wiped.`),
      );
    }
    const known = await client.call(getMachineDisks, { params, signal });
    if (wanted === undefined) return show(cli, machine.name, known);
    const disk = pick(machine.name, known.disks, wanted);
    const about = [disk.path, disk.model, disk.serial, formatSize(disk.sizeBytes)].filter(Boolean).join(", ");
    if (!disk.canWipe) throw new Fault("conflict", `${disk.path} ${disk.holds}; it cannot be wiped. Nothing was done`);
    const name = `${machine.name}/${disk.fingerprint.slice(0, SHOWN)}`;
    await confirm(call, name, `all that is on ${about} of ${machine.name} is lost: it ${disk.holds}.`);
    const order = await client.call(wipeMachineDisk, { params, body: { fingerprint: disk.fingerprint }, signal });
    answer(cli, order, () => {
      cli.print(`${disk.path} of ${machine.name} is erased at its next boot, if it still holds the same then.`);
      cli.say(`To take this back before that: flynn machine wipe ${machine.name} --cancel`);
    });
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

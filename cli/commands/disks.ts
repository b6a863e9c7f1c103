// machine disks: what is on a machine's disks, what its profile's policy would do with each, and the proofs of those that were wiped.
import { getProfile } from "#api/boot.ts";
import type { Client } from "#api/client.ts";
import { planDisks } from "#api/disk-plan.ts";
import { getMachineDisks, type MachineDisks } from "#api/disks.ts";
import { getMachine } from "#api/machines.ts";
import { getMachineWipe } from "#api/wipes.ts";
import { formatSize } from "#lib/units.ts";
import { withCluster } from "../clusters/connect.ts";
import { age, answer } from "../output/answer.ts";
import { printFacts, printTable } from "../output/table.ts";
import { plain } from "../output/text.ts";
import type { Cli, Command, Invocation } from "../parse/command.ts";
import { DISK_FLAGS, diskPolicy, diskText } from "./disk-policy.ts";

export const disksCommand: Command = {
  words: "machine disks",
  summary: "What is on a machine's disks, what a wipe would lose, what its policy would do",
  more: [
    "  flynn machine disks node-1",
    "  flynn machine disks node-1 --disk find-empty --disk-transport nvme --disk-prefer smallest",
    "",
    "With the flags of profile set it shows what such a policy would do; nothing is changed. A policy only names a disk:",
    "one with anything on it is left alone whatever names it.",
  ].join("\n"),
  args: [{ name: "MACHINE", required: true, offers: "machines" }],
  flags: [
    ...DISK_FLAGS,
    { name: "proofs", help: "Disks of it that were wiped: by what, and what was read back; --json to keep" },
    { name: "profile", value: "NAME", help: "What another profile's policy would do" },
  ],
  run: disksOf,
};

async function disksOf(call: Invocation): Promise<void> {
  const { cli, text } = call;
  await withCluster(call, async (client) => {
    const { signal } = cli;
    const machine = await client.call(getMachine, { params: { id: call.args[0]! }, signal });
    if (call.on("proofs")) return proofsOf(cli, client, machine.id);
    const known = await client.call(getMachineDisks, { params: { id: machine.id }, signal });
    const name = text("profile") ?? machine.profile;
    const { diskPolicy: before } = await client.call(getProfile, { params: { name }, signal });
    const policy = diskPolicy(call, before);
    if (known.seenAt === undefined)
      return answer(cli, known, () =>
        cli.print(`${machine.name} has not reported its disks yet; it does when it has booted as a host`),
      );
    const plan = planDisks(known.disks, policy, known.order);
    answer(cli, { ...known, plan }, () => show(cli, { ...known, plan }, diskText(policy)));
  });
}

async function proofsOf(cli: Cli, client: Client, id: string): Promise<void> {
  const { proofs } = await client.call(getMachineWipe, { params: { id }, signal: cli.signal });
  answer(cli, proofs, () => {
    if (proofs.length === 0) return cli.say("no disk of it was wiped with a proof");
    for (const [n, proof] of proofs.entries()) {
      if (n > 0) cli.print("");
      printFacts(cli, [
        ["Disk", [proof.path, proof.model, formatSize(proof.sizeBytes)].filter(Boolean).join(", ")],
        ["Serial", proof.serial],
        ["WWN", proof.wwn],
        ["Machine", proof.machine],
        ["Held", proof.held],
        ["Done", proof.did],
        ["Result", proof.result],
        ["From", `${proof.startedAt} to ${proof.endedAt} (${Math.round(proof.seconds)} s)`],
        ["Ordered", `by ${proof.orderedBy}, order ${proof.orderId}`],
      ]);
    }
  });
}

function show(cli: Cli, known: MachineDisks & { plan: NonNullable<MachineDisks["plan"]> }, policy: string): void {
  const { disks, plan } = known;
  printTable(
    cli,
    ["DISK", "SIZE", "KIND", "MODEL", "SERIAL", "POLICY", "WHY"],
    disks.map((disk, n) => [
      disk.path,
      formatSize(disk.sizeBytes),
      [disk.transport, disk.media].filter(Boolean).join(" "),
      disk.model ?? "",
      disk.serial ?? "",
      plan.disks[n]?.will ?? "",
      plan.disks[n]?.why ?? "",
    ]),
  );
  for (const { path, contents = [] } of disks) {
    if (contents.length === 0) continue;
    cli.print("");
    cli.print(`${plain(path)}: a wipe would lose`);
    for (const line of contents) cli.print(`  ${plain(line)}`);
  }
  cli.say(`policy ${policy}: ${plan.summary}`);
  cli.say(`as seen ${age(known.seenAt!)} ago`);
}

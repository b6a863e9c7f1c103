// machine: metal as the boot server sees it, its timeline and the boot doctor's word on it.
import {
  approveMachine,
  explainMachine,
  getMachine,
  listMachines,
  type Machine,
  machineTimeline,
  type TimelineEvent,
} from "#api/machines.ts";
import type { Cli, Command, Invocation } from "../command.ts";
import { listAll, withCluster } from "../connect.ts";
import { age, answer, answerList } from "../output/answer.ts";
import { printExplanation } from "../output/explanation.ts";
import { printFacts, printTable } from "../output/table.ts";
import { paint, plain } from "../output/text.ts";

const MACHINE = { name: "MACHINE", required: true, offers: "machines" } as const;

export const machineCommands: readonly Command[] = [
  {
    words: "machine list",
    summary: "List machines: seen on the network, approved, booting, ready",
    run: (call) =>
      withCluster(call, async (client) =>
        answerList(call.cli, await listAll(client, listMachines, { signal: call.cli.signal }), {
          titles: ["ID", "NAME", "STATE", "MAC", "PROFILE", "SEEN", "REASON"],
          row: (one) => [
            one.id,
            one.name,
            one.state,
            one.identity.mac,
            one.profile,
            `${age(one.lastSeenAt)} ago`,
            one.reason,
          ],
          none: "no machine has been seen; start the boot services with `flynn up --interface IFACE` and switch one on",
        }),
      ),
  },
  {
    words: "machine show",
    summary: "Show a machine, by id, name or MAC",
    args: [MACHINE],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const machine = await client.call(getMachine, { params: { id: call.args[0]! }, signal: cli.signal });
        const { identity, tags } = machine;
        answer(cli, machine, () =>
          printFacts(cli, [
            ["ID", machine.id],
            ["Name", machine.name],
            ["State", machine.state],
            ["Reason", machine.reason],
            ["Next boot", machine.target],
            ["Profile", machine.profile],
            ["MACs", machine.macs.join(" ")],
            ["UUID", identity.uuid],
            ["Serial", identity.serial],
            ["Product", [identity.manufacturer, identity.product].filter(Boolean).join(" ")],
            ["Firmware", [identity.firmware, identity.architecture].filter(Boolean).join(" ")],
            [
              "Tags",
              Object.entries(tags)
                .map(([name, value]) => `${name}=${value}`)
                .join(" "),
            ],
            ["Host", machine.hostId],
            ["Image", machine.imageId],
            ["Boot", machine.bootId],
            ["Approved", machine.approvedAt && `${machine.approvedAt} by ${machine.approvedBy ?? "?"}`],
            ["Seen", `${machine.lastSeenAt} (${age(machine.lastSeenAt)} ago)`],
          ]),
        );
      }),
  },
  {
    words: "machine approve",
    summary: "Let discovered machines boot and join",
    args: [{ ...MACHINE, rest: true }],
    flags: [
      { name: "name", value: "NAME", help: "Name it (one machine only)" },
      { name: "profile", value: "PROFILE", help: "Profile it boots by" },
    ],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const [name, profile] = [call.text("name"), call.text("profile")];
        const body = { ...(name === undefined ? {} : { name }), ...(profile === undefined ? {} : { profile }) };
        const approved: Machine[] = [];
        for (const id of call.args)
          approved.push(await client.call(approveMachine, { params: { id }, body, signal: cli.signal }));
        answer(cli, approved, () => {
          for (const machine of approved) cli.print(`Approved ${machine.name} (${machine.state})`);
        });
      }),
  },
  {
    words: "machine timeline",
    summary: "What happened to a machine, step by step; -f follows",
    args: [MACHINE],
    flags: [
      { name: "follow", short: "f", help: "Go on with steps as they happen" },
      { name: "boot", value: "ID", help: "Only steps of this boot; `last` is the newest" },
    ],
    run: timeline,
  },
  {
    words: "machine explain",
    summary: "Where a machine stands, why, and what to do",
    args: [MACHINE],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const explained = await client.call(explainMachine, { params: { id: call.args[0]! }, signal: cli.signal });
        answer(cli, explained, () => printExplanation(cli, explained));
      }),
  },
];

async function timeline(call: Invocation): Promise<void> {
  const { cli } = call;
  await withCluster(call, async (client) => {
    const machine = await client.call(getMachine, { params: { id: call.args[0]! }, signal: cli.signal });
    const bootId = call.text("boot") === "last" ? machine.bootId : call.text("boot");
    const input = { params: { id: machine.id }, query: bootId === undefined ? {} : { bootId }, signal: cli.signal };
    if (!call.on("follow")) {
      const { items } = await client.call(machineTimeline, input);
      return answer(cli, items, () => {
        if (items.length === 0) return cli.say(`nothing is known of ${machine.name} yet`);
        printTable(
          cli,
          TITLES,
          items.map((event) => row(event, items[0]!)),
        );
      });
    }
    let first: TimelineEvent | undefined;
    const onBreak = () => cli.say("the connection broke; trying again");
    for await (const { event, data } of client.follow(machineTimeline, { ...input, onBreak })) {
      if (event !== "item" || data === undefined) continue;
      first ??= data;
      printStep(cli, data, first);
    }
  });
}

const TITLES = ["SECONDS", "STAGE", "MESSAGE"];
const row = (event: TimelineEvent, first: TimelineEvent): string[] => [
  seconds(event, first).padStart(7),
  event.stage,
  event.level === "info" ? event.message : `${event.level}: ${event.message}`,
];

/** A followed table cannot know its widths: stages are at most 14 wide. */
function printStep(cli: Cli, event: TimelineEvent, first: TimelineEvent): void {
  if (cli.json) {
    cli.print(JSON.stringify(event));
    return;
  }
  const [at, stage, message] = row(event, first) as [string, string, string];
  const colour = event.level === "error" ? "red" : event.level === "warning" ? "yellow" : undefined;
  cli.print(`${at}  ${stage.padEnd(14)}  ${paint(plain(message), colour, cli.colour.out)}`);
}

const seconds = (event: TimelineEvent, first: TimelineEvent): string =>
  ((Date.parse(event.at) - Date.parse(first.at)) / 1000).toFixed(1);

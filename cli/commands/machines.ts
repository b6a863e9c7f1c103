// machine: metal as the boot server sees it, its timeline and the boot doctor's word on it.
import { sameWords } from "#api/check-words.ts";
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import {
  adoptMachine,
  approveMachine,
  claimToDecide,
  explainMachine,
  getMachine,
  listMachines,
  type Machine,
  machineTimeline,
  rejectMachine,
  type TimelineEvent,
} from "#api/machines.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { age, answer, answerList } from "../output/answer.ts";
import { printExplanation } from "../output/explanation.ts";
import { printFacts, printTable } from "../output/table.ts";
import { paint, plain } from "../output/text.ts";
import type { Cli, Command, Invocation } from "../parse/command.ts";
import { bmcCommands } from "./bmc.ts";
import { disksCommand } from "./disks.ts";
import { checkWords, inventoryCommand } from "./inventory.ts";
import { machineOrdersCommand } from "./machine-orders.ts";
import { powerCommands } from "./power.ts";
import { wipeCommand } from "./wipe.ts";

const MACHINE = { name: "MACHINE", required: true, offers: "machines" } as const;

const CLAIM = { name: "claim", value: "CLAIM", help: "Decide on this claim only, as `machine show` names it" } as const;

/** The claim a decision answers: the one that was named, else what waits now, which is shown. */
async function answered(call: Invocation, client: Client, id: string): Promise<{ claim?: string }> {
  const named = call.text("claim");
  if (named !== undefined) return { claim: named };
  const machine = await client.call(getMachine, { params: { id }, signal: call.cli.signal });
  const { name, pending } = machine;
  const typed = call.text("words");
  const words = machine.check?.words ?? pending?.words;
  if (typed !== undefined && (words === undefined || !sameWords(typed, words)))
    throw new Fault(
      "conflict",
      words === undefined
        ? `machine ${name} shows no six words now; look again with: flynn machine show ${name}`
        : `the six words of machine ${name} are "${words}" here: whoever showed you others is not what waits; nothing was decided`,
    );
  const claim = claimToDecide(machine);
  if (claim === undefined) return {};
  call.cli.say(`${name}: ${pending?.reason ?? `its six words are: ${checkWords(machine)}`}`);
  return { claim };
}

export const machineCommands: readonly Command[] = [
  {
    words: "machine list",
    summary: "List machines: seen on the network, approved, booting, ready",
    run: (call) =>
      withCluster(call, async (client) =>
        answerList(call.cli, await listAll(client, listMachines, { signal: call.cli.signal }), {
          titles: ["ID", "NAME", "STATE", "POWER", "MAC", "PROFILE", "SEEN", "WORDS", "REASON"],
          row: (one) => [
            one.id,
            one.name,
            one.pending ? `${one.state}, ${one.pending.kind} ${one.pending.claim ?? ""}`.trimEnd() : one.state,
            one.power?.state ?? "",
            one.identity.mac,
            one.profile,
            `${age(one.lastSeenAt)} ago`,
            checkWords(one),
            one.pending?.reason ?? one.reason,
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
        const { identity, tags, pending, observed } = machine;
        const claimed = machine.claimed ?? identity;
        answer(cli, machine, () =>
          printFacts(cli, [
            ["ID", machine.id],
            ["Name", machine.name],
            ["State", machine.state],
            ["Reason", machine.reason],
            ["Power", machine.power && `${machine.power.state}, since ${machine.power.at} or before`],
            ["Waits for you", pending?.reason],
            ["Claim", pending?.claim],
            ["Six words", checkWords(machine)],
            ["Next boot", machine.target],
            ["Profile", machine.profile],
            ["MACs", machine.macs.join(" ")],
            ["UUID", identity.uuid],
            ["Serial", identity.serial],
            ["Product", [claimed.manufacturer, claimed.product].filter(Boolean).join(" ")],
            ["Firmware", [claimed.firmware, claimed.architecture].filter(Boolean).join(" ")],
            ["Seen as", observed && [observed.card, observed.relay, observed.address].filter(Boolean).join(" ")],
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
    summary: "Let discovered machines boot and join, or accept what changed of approved ones",
    args: [{ ...MACHINE, rest: true }],
    flags: [
      { name: "name", value: "NAME", help: "Name it (one machine only)" },
      { name: "profile", value: "PROFILE", help: "Profile it boots by" },
      { name: "words", value: "WORDS", help: "The six words that its console shows; with others nothing is approved" },
      CLAIM,
    ],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const [name, profile] = [call.text("name"), call.text("profile")];
        const body = { ...(name === undefined ? {} : { name }), ...(profile === undefined ? {} : { profile }) };
        const approved: Machine[] = [];
        for (const id of call.args) {
          const claim = await answered(call, client, id);
          approved.push(
            await client.call(approveMachine, { params: { id }, body: { ...body, ...claim }, signal: cli.signal }),
          );
        }
        answer(cli, approved, () => {
          for (const machine of approved) cli.print(`Approved ${machine.name} (${machine.state})`);
        });
      }),
  },
  {
    words: "machine reject",
    summary: "Refuse machines that wait, or what changed of approved ones, which stay as they were",
    args: [{ ...MACHINE, rest: true }],
    flags: [CLAIM, { name: "revoke", help: "Take the approval back from a machine of which nothing waits" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const revoke = call.on("revoke") ? { revoke: true } : {};
        const rejected: Machine[] = [];
        for (const id of call.args) {
          const body = { ...revoke, ...(await answered(call, client, id)) };
          rejected.push(await client.call(rejectMachine, { params: { id }, body, signal: cli.signal }));
        }
        answer(cli, rejected, () => {
          for (const machine of rejected) cli.print(`Rejected ${machine.name} (${machine.state})`);
        });
      }),
  },
  {
    words: "machine adopt",
    summary: "Make the card of a discovered machine one more card of an approved one",
    args: [
      { ...MACHINE, name: "NEW" },
      { ...MACHINE, name: "NODE" },
    ],
    flags: [CLAIM],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const [card, id] = call.args as [string, string];
        const body = { card, ...(await answered(call, client, card)) };
        const machine = await client.call(adoptMachine, { params: { id }, body, signal: cli.signal });
        answer(cli, machine, () => cli.print(`${machine.name} has the cards ${machine.macs.join(" ")}`));
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
  inventoryCommand,
  disksCommand,
  machineOrdersCommand,
  ...powerCommands,
  ...bmcCommands,
  wipeCommand,
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

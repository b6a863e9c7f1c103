// machine status, boot-once, reprovision, rename, tag, forget: one machine's life, on one page and by one word each.
import type { Client } from "#api/client.ts";
import { Fault, isFault } from "#api/fault.ts";
import { deleteHost, getHost, type Host } from "#api/hosts.ts";
import { type BootOnceTarget, bootMachineOnce, reprovisionMachine } from "#api/machine-life.ts";
import { isOver, listMachineOrders, type MachineOrder } from "#api/machine-orders.ts";
import {
  deleteMachine,
  getMachine,
  type Machine,
  type MachineState,
  machineTimeline,
  type Stage,
  type TimelineEvent,
  updateMachine,
} from "#api/machines.ts";
import { tagChanges } from "../apps/tag-changes.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { followOrder, orderWords } from "../machines/follow-order.ts";
import { age, answer } from "../output/answer.ts";
import { CONFIRM_FLAGS, confirm } from "../output/confirm.ts";
import { printFacts } from "../output/table.ts";
import type { Command, Flag, Invocation } from "../parse/command.ts";

const MACHINE = { name: "MACHINE", required: true, offers: "machines" } as const;
const DETACH: Flag = { name: "detach", help: "Do not wait for its end" };
const TARGETS: readonly BootOnceTarget[] = ["inventory", "rescue", "local-disk", "boot"];

/** What others call it: people who come from MAAS look for these words. */
const AS_MAAS_SAYS: Record<MachineState, string> = {
  discovered: "New",
  approved: "Allocated",
  booting: "Deploying",
  ready: "Deployed",
  lost: "Broken",
  off: "powered off",
  failed: "Failed deployment",
  rescue: "Rescue mode",
  erasing: "Disk erasing",
  rejected: "Retired",
};

/** Steps of a boot whose times are worth a line. */
const TIMED: readonly Stage[] = ["script", "kernel", "initrd", "squashfs", "seed", "join", "ready", "job-up"];

export const machineLifeCommands: readonly Command[] = [
  {
    words: "machine status",
    summary: "A machine on one page: state, host, image, open order, last boot, and what waits",
    args: [MACHINE],
    run: (call) => withCluster(call, (client) => status(call, client)),
  },
  {
    words: "machine boot-once",
    summary: "Give a machine something else at its next network boot, and at no other",
    more: "TARGET: inventory, rescue (a root shell on its console), local-disk, or boot (its image). Its BMC switches it off and on at once; without one, or with --later, it waits for the next boot.",
    args: [MACHINE, { name: "TARGET", required: true }],
    flags: [
      { name: "wait", help: "Wait until it was given" },
      { name: "later", help: "Switch nothing: it is given at the next boot, whenever that is" },
      { name: "force", help: "Cut the power of a host that jobs run on" },
    ],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli, args } = call;
        const [id, target] = args as [string, BootOnceTarget];
        if (!TARGETS.includes(target))
          throw new Fault("invalid", `${target} is nothing to boot: give ${TARGETS.join(", ")}`);
        if (call.on("later") && call.on("force"))
          throw new Fault("invalid", "--force: switches it now, so it does not go with --later");
        const now = call.on("later") ? {} : { now: true };
        const body = { target, ...now, ...(call.on("force") ? { force: true } : {}) };
        const order = await client.call(bootMachineOnce, { params: { id }, body, signal: cli.signal });
        await shown(call, client, order, call.on("wait"));
      }),
  },
  {
    words: "machine reprovision",
    summary: "Drain a machine, boot it anew with what its profile says, and give it jobs again",
    more: "Its agent is told to reboot; without one, switch it off and on. Ends when it is ready, or with a reason. Ctrl-C here ends the watching only.",
    args: [MACHINE],
    flags: [DETACH],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli, args } = call;
        const params = { id: args[0]! };
        const order = await client.call(reprovisionMachine, { params, body: {}, signal: cli.signal });
        await shown(call, client, order, !call.on("detach"));
      }),
  },
  {
    words: "machine rename",
    summary: "Give a machine another name; its host keeps its own until it joins anew",
    args: [MACHINE, { name: "NAME", required: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli, args } = call;
        const [id, name] = args as [string, string];
        const machine = await client.call(updateMachine, { params: { id }, body: { name }, signal: cli.signal });
        answer(cli, machine, () => cli.print(`${id} is ${machine.name} now`));
      }),
  },
  {
    words: "machine tag",
    summary: "Show or change a machine's tags, which its host gets when it joins",
    more: "  flynn machine tag node1 zone=a disk=ssd old-     sets two tags and removes `old`",
    args: [MACHINE, { name: "TAG=VALUE|TAG-", rest: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const [id, ...words] = call.args as [string, ...string[]];
        const input = { params: { id }, signal: cli.signal };
        const machine =
          words.length === 0
            ? await client.call(getMachine, input)
            : await client.call(updateMachine, { ...input, body: { tags: tagChanges(words) } });
        answer(cli, machine.tags, () => {
          for (const [name, value] of Object.entries(machine.tags)) cli.print(`${name}=${value}`);
        });
      }),
  },
  {
    words: "machine forget",
    summary: "Forget a machine, and its host; it is discovered anew at its next boot",
    args: [MACHINE],
    flags: CONFIRM_FLAGS,
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli, args } = call;
        const machine = await client.call(getMachine, { params: { id: args[0]! }, signal: cli.signal });
        const host = await hostOf(client, machine, cli.signal);
        if (host !== undefined) {
          await confirm(
            call,
            machine.name,
            `machine ${machine.name} is host ${host.name}, which leaves the cluster; its ${host.jobs} jobs are started elsewhere.`,
          );
          await client.call(deleteHost, { params: { id: host.id }, signal: cli.signal });
        }
        await client.call(deleteMachine, { params: { id: machine.id }, signal: cli.signal });
        answer(cli, { id: machine.id, name: machine.name, ...(host ? { hostId: host.id } : {}) }, () =>
          cli.print(`Machine ${machine.name} is forgotten${host ? `, and host ${host.name} removed` : ""}.`),
        );
      }),
  },
];

async function shown(call: Invocation, client: Client, order: MachineOrder, watch: boolean): Promise<void> {
  const { cli } = call;
  const last = watch ? await followOrder(cli, client, order) : order;
  answer(cli, last, () =>
    cli.print(
      isOver(last) ? orderWords(last) : `${orderWords(last)}; see: flynn machine orders ${last.machine} ${last.id}`,
    ),
  );
}

/** Undefined for one that is none, or was removed. */
async function hostOf(client: Client, { hostId }: Machine, signal: AbortSignal): Promise<Host | undefined> {
  if (hostId === undefined) return undefined;
  return client.call(getHost, { params: { id: hostId }, signal }).catch((error: unknown) => {
    if (isFault(error, "not-found")) return undefined;
    throw error;
  });
}

async function status(call: Invocation, client: Client): Promise<void> {
  const { cli, args } = call;
  const { signal } = cli;
  const machine = await client.call(getMachine, { params: { id: args[0]! }, signal });
  const params = { id: machine.id };
  const [host, orders, timeline] = await Promise.all([
    hostOf(client, machine, signal),
    listAll(client, listMachineOrders, { params, signal }),
    machine.bootId === undefined
      ? []
      : client.call(machineTimeline, { params, query: { bootId: machine.bootId }, signal }).then(({ items }) => items),
  ]);
  const order = orders.find((one) => !isOver(one));
  const boot = timesOf(timeline);
  const { identity, pending, fallback, bootOnce } = machine;
  answer(cli, { machine, host, order, boot }, () =>
    printFacts(cli, [
      ["Machine", `${machine.name} (${machine.id})`],
      ["State", `${machine.state} (MAAS: ${AS_MAAS_SAYS[machine.state] ?? "?"})`],
      ["Reason", machine.reason],
      ["Hardware", [identity.manufacturer, identity.product, identity.serial].filter(Boolean).join(" ")],
      ["Card", machine.macs.join(" ")],
      ["Profile", machine.profile],
      ["Next boot", bootOnce ? `${bootOnce.target} once, then ${machine.target}` : machine.target],
      ["Image", machine.imageId],
      ["Last that worked", machine.lastGoodImageId],
      ["Host", host && hostText(host)],
      ["Order", order && `${order.kind}, ${order.state}: ${order.step}`],
      [
        "Last boot",
        machine.bootId && `${machine.bootId}${boot.length > 0 ? `: ${boot.map(timeText).join(", ")}` : ""}`,
      ],
      [
        "Waits for you",
        pending?.reason ?? (fallback && `flynn machine approve ${machine.name}, once the cause is gone`),
      ],
      ["Seen", `${age(machine.lastSeenAt)} ago`],
    ]),
  );
}

const hostText = ({ name, state, draining, cordoned, jobs }: Host): string =>
  `${name}: ${state}${draining ? ", draining" : cordoned ? ", cordoned" : ""}, ${jobs} jobs`;

interface StepTime {
  stage: Stage;
  /** Since the boot's first step. */
  seconds: number;
}

/** The first of each step that counts, in their order. */
function timesOf(timeline: readonly TimelineEvent[]): StepTime[] {
  const [first] = timeline;
  return TIMED.flatMap((stage) => {
    const event = timeline.find((one) => one.stage === stage);
    if (event === undefined || first === undefined) return [];
    return [{ stage, seconds: Math.round((Date.parse(event.at) - Date.parse(first.at)) / 100) / 10 }];
  });
}

const timeText = ({ stage, seconds }: StepTime): string => `${stage} ${seconds.toFixed(1)} s`;

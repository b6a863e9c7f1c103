// host: machines that run jobs.
import type { Client } from "#api/client.ts";
import { Fault, isFault } from "#api/fault.ts";
import {
  cordonHost,
  deleteHost,
  drainHost,
  getHost,
  type Host,
  listHosts,
  uncordonHost,
  updateHost,
} from "#api/hosts.ts";
import { createJoinToken } from "#api/members.ts";
import { listNetworkHosts, type NetworkHost } from "#api/network.ts";
import { helloText } from "#api/version.ts";
import { sleep } from "#lib/time.ts";
import { formatCpu, formatDuration, formatSize, parseDuration } from "#lib/units.ts";
import { tagChanges } from "../apps/tag-changes.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { caFile } from "../git/git-settings.ts";
import { age, answer, answerList } from "../output/answer.ts";
import { CONFIRM_FLAGS, confirm } from "../output/confirm.ts";
import { progress } from "../output/progress.ts";
import { printFacts } from "../output/table.ts";
import type { Command, Invocation } from "../parse/command.ts";

const HOST = { name: "HOST", required: true, offers: "hosts" } as const;

export const hostCommands: readonly Command[] = [
  {
    words: "host list",
    summary: "List hosts",
    run: (call) =>
      withCluster(call, async (client) =>
        answerList(call.cli, await listAll(client, listHosts, { signal: call.cli.signal }), {
          titles: ["ID", "NAME", "STATE", "ADDRESS", "JOBS", "CPU", "MEMORY", "DISK", "SEEN", "REASON"],
          row: (host) => [
            host.id,
            host.name,
            stateOf(host),
            host.address,
            String(host.jobs),
            cpu(host),
            memory(host),
            diskFree(host),
            host.lastSeenAt && `${age(host.lastSeenAt)} ago`,
            host.reason || pressureText(host) || clockText(host),
          ],
          none: "no host has joined yet; boot a machine, or run apps here with `flynn up` (without --no-host)",
        }),
      ),
  },
  {
    words: "host show",
    summary: "Show a host, by id or name",
    args: [HOST],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const host = await client.call(getHost, { params: { id: call.args[0]! }, signal: cli.signal });
        const network = cli.json ? undefined : await networkOf(client, host, cli.signal);
        answer(cli, host, () =>
          printFacts(cli, [
            ["ID", host.id],
            ["Name", host.name],
            ["State", stateOf(host)],
            ["Reason", host.reason],
            ["Address", host.address],
            ["Subnet", host.subnet],
            ["Subnet waits", host.subnetWaits],
            ["Architecture", host.architecture],
            ["Jobs", String(host.jobs)],
            ["CPU", `${cpu(host)} CPU asked for`],
            ["Memory", `${memory(host)} asked for`],
            ["Disk", `${formatSize(host.used.diskBytes)} of ${formatSize(host.capacity.diskBytes)} asked for`],
            ["Disk free", host.space && roomText(host.space.disk)],
            ["Memory free", host.space && roomText(host.space.memory)],
            ["Pressure", pressureText(host)],
            ["Clock", clockText(host)],
            ["Tags", tagText(host)],
            ["Network", network],
            ["Machine", host.machineId],
            ["Agent", host.hello ? helloText(host.hello) : host.agentVersion],
            ["Agent can", host.hello?.capabilities.join(" ")],
            ["Engine", host.engineVersion],
            ["Joined", `${host.joinedAt} (${age(host.joinedAt)} ago)`],
            ["Seen", host.lastSeenAt && `${age(host.lastSeenAt)} ago`],
          ]),
        );
      }),
  },
  {
    words: "host cordon",
    summary: "Place no new jobs on a host; what runs goes on",
    args: [HOST],
    run: (call) => change(call, cordonHost, ({ name }) => `Host ${name} is cordoned: no new jobs are placed there.`),
  },
  {
    words: "host drain",
    summary: "Move a host's jobs elsewhere with no failed request, and place no new ones on it",
    more: "Each job stops once its replacement serves. `flynn host uncordon` ends it. Ctrl-C here ends the watching only.",
    args: [HOST],
    flags: [
      { name: "timeout", value: "TIME", help: "Longest wait for the last job to be gone; default 10m" },
      { name: "detach", help: "Do not wait" },
    ],
    run: drain,
  },
  {
    words: "host uncordon",
    summary: "Place jobs on a host again; ends a drain",
    args: [HOST],
    run: (call) => change(call, uncordonHost, ({ name }) => `Host ${name} takes jobs again.`),
  },
  {
    words: "host tags",
    summary: "Show or change a host's tags",
    more: "  flynn host tags node1 zone=a disk=ssd old-     sets two tags and removes `old`",
    args: [HOST, { name: "TAG=VALUE|TAG-", rest: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const [id, ...words] = call.args as [string, ...string[]];
        const input = { params: { id }, signal: cli.signal };
        const host =
          words.length === 0
            ? await client.call(getHost, input)
            : await client.call(updateHost, { ...input, body: { tags: tagChanges(words) } });
        answer(cli, host.tags, () => {
          for (const [name, value] of Object.entries(host.tags)) cli.print(`${name}=${value}`);
        });
      }),
  },
  {
    words: "host token",
    summary: "Make a single-use token: a machine that did not boot from here joins as a host with it",
    more: "It is printed with what to do on that machine, which needs Debian 12, root and a clone of Flynn. More: hostd/README.md.",
    flags: [{ name: "ttl", value: "TIME", help: "How long it is good, such as 30m or 24h; default 1h" }],
    run: (call) =>
      withCluster(call, async (client, { name, url }) => {
        const { cli } = call;
        const ttl = call.text("ttl") ?? "1h";
        const ttlMs = parseDuration(ttl);
        if (ttlMs === undefined) throw new Fault("invalid", `--ttl ${ttl}: write a time such as 30m or 24h`);
        const made = await client.call(createJoinToken, { body: { role: "host", ttlMs }, signal: cli.signal });
        answer(cli, made, () => {
          cli.print(made.token);
          cli.say(`good for one host, until ${made.expiresAt}`);
          for (const line of joinSteps(url, caFile(cli.env, name))) cli.say(line);
        });
      }),
  },
  {
    words: "host remove",
    summary: "Remove a host; its certificate is refused from then on",
    args: [HOST],
    flags: CONFIRM_FLAGS,
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const host = await client.call(getHost, { params: { id: call.args[0]! }, signal: cli.signal });
        await confirm(
          call,
          host.name,
          `host ${host.name} leaves the cluster; its ${host.jobs} jobs are started elsewhere.`,
        );
        await client.call(deleteHost, { params: { id: host.id }, signal: cli.signal });
        answer(cli, { id: host.id, name: host.name }, () => cli.print(`Host ${host.name} removed.`));
      }),
  },
];

function change(
  call: Invocation,
  endpoint: typeof cordonHost | typeof uncordonHost,
  words: (host: Host) => string,
): Promise<void> {
  const { cli } = call;
  return withCluster(call, async (client) => {
    const host = await client.call(endpoint, { params: { id: call.args[0]! }, body: {}, signal: cli.signal });
    answer(cli, host, () => cli.print(words(host)));
  });
}

const NETWORK: Record<NetworkHost["state"], string> = {
  current: "enforces what apps may reach",
  behind: "does not enforce the newest state of what apps may reach yet",
  silent: "goes on with what it had when it was heard last",
  unsupported: "not known to enforce what apps may reach: its agent is too old, or manages no network",
};

/** Undefined from a control that knows nothing of it. */
async function networkOf(client: Client, { id }: Host, signal: AbortSignal): Promise<string | undefined> {
  const hosts: NetworkHost[] = await listAll(client, listNetworkHosts, { signal }).catch((error: unknown) => {
    if (isFault(error, "not-found")) return [];
    throw error;
  });
  const state = hosts.find((host) => host.id === id)?.state;
  return state && (NETWORK[state] ?? state);
}

async function drain(call: Invocation): Promise<void> {
  const { cli } = call;
  const wish = call.text("timeout") ?? "10m";
  const timeoutMs = parseDuration(wish);
  if (timeoutMs === undefined) throw new Fault("invalid", `--timeout takes a time such as 90s or 10m, not ${wish}`);
  await withCluster(call, async (client) => {
    const params = { id: call.args[0]! };
    let host = await client.call(drainHost, { params, body: {}, signal: cli.signal });
    const shown = progress(cli);
    const endMs = performance.now() + timeoutMs;
    try {
      while (!call.on("detach") && host.jobs > 0) {
        if (performance.now() > endMs)
          throw new Fault(
            "timeout",
            `host ${host.name} still has ${host.jobs} jobs; what keeps them: flynn ps -a APP (the drain goes on)`,
          );
        shown.step(`host ${host.name}: ${host.jobs} jobs left`);
        await sleep(1_000, cli.signal);
        cli.signal.throwIfAborted();
        host = await client.call(getHost, { params, signal: cli.signal });
      }
    } finally {
      shown.end();
    }
    answer(cli, host, () =>
      cli.print(
        host.jobs > 0 ? `Host ${host.name} is being drained.` : `Host ${host.name} is drained: no job runs there.`,
      ),
    );
  });
}

const stateOf = ({ state, cordoned, draining }: Host): string =>
  draining ? `${state}, draining` : cordoned ? `${state}, cordoned` : state;
const cpu = ({ used, capacity }: Host): string => `${formatCpu(used.cpuMillis)}/${formatCpu(capacity.cpuMillis)}`;
const memory = ({ used, capacity }: Host): string =>
  `${formatSize(used.memoryBytes)}/${formatSize(capacity.memoryBytes)}`;
const diskFree = ({ space }: Host): string =>
  space === undefined ? "" : `${formatSize(space.disk.freeBytes)} free of ${formatSize(space.disk.sizeBytes)}`;
type Room = NonNullable<Host["space"]>["disk"];
const roomText = ({ freeBytes, sizeBytes, reserveBytes, inodes, freeInodes }: Room): string => {
  const room = `${formatSize(freeBytes)} of ${formatSize(sizeBytes)}, ${formatSize(reserveBytes)} of it kept for hostd and Docker`;
  return inodes ? `${room}; ${freeInodes} of ${inodes} inodes` : room;
};
const pressureText = ({ space }: Host): string =>
  space === undefined || space.pressure.length === 0
    ? ""
    : `short of ${space.pressure.join(" and ")}: no new jobs are placed here`;
const clockText = ({ clockOffMs = 0 }: Host): string =>
  clockOffMs === 0
    ? ""
    : `its clock is ${formatDuration(Math.round(Math.abs(clockOffMs) / 1_000) * 1_000)} ${clockOffMs > 0 ? "ahead of" : "behind"} control's: let both reach a time server`;
const tagText = ({ tags }: Host): string =>
  Object.entries(tags)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");

/** What to do with a join token. The token itself is printed once, on stdout. */
const joinSteps = (url: string, ca: string): string[] => [
  "On the machine that is to join (Debian 12), as root, in a clone of Flynn:",
  `  1. copy ${ca} from here to /etc/flynn/ca.pem there`,
  "  2. write /etc/flynn/hostd.yaml, with the token:",
  `       controlUrls: ["${url}"]`,
  "       caFile: /etc/flynn/ca.pem",
  "       joinToken: TOKEN",
  "  3. node lib/setup.mjs --apt run -- hostd/main.ts run --config /etc/flynn/hostd.yaml",
  "It stands in `flynn host list` then.",
];

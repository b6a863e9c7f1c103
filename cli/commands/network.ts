// network: which apps reach which, and what hosts make of it.
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import {
  createNetworkRule,
  deleteNetworkRule,
  getNetwork,
  listNetworkHosts,
  listNetworkRules,
  type Network,
  type NetworkHost,
  type NetworkParty,
  type NetworkRule,
} from "#api/network.ts";
import { sleep } from "#lib/time.ts";
import { findAppName } from "../apps/app.ts";
import { behind, unproven } from "../apps/network-hosts.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { answer, answerList } from "../output/answer.ts";
import { progress } from "../output/progress.ts";
import { printFacts } from "../output/table.ts";
import type { Command, Flag, Invocation } from "../parse/command.ts";
import { durationMs } from "../parse/duration.ts";

const PAIR = [
  { name: "FROM", required: true, offers: "apps" },
  { name: "TO", required: true },
] as const;
const WAITING: readonly Flag[] = [
  { name: "timeout", value: "TIME", help: "Longest wait for the hosts; default 15s" },
  { name: "detach", help: "Do not wait" },
];
const WAIT_MS = 15_000;
const LOOK_MS = 100;

export const networkCommands: readonly Command[] = [
  {
    words: "network",
    summary: "Show what apps and builds reach unless a rule opens more",
    more: `Set by who runs the appliance: flynn up --app-network app|cluster --app-egress all|internet|none. A job always reaches its own
app, name servers, and the open ports: the API (7777) and git over SSH (7722) where control is, 80, 443 and TCP routes (3000-3500) where
routers are, unless the appliance was started with others.`,
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const network = await client.call(getNetwork, { signal: cli.signal });
        answer(cli, network, () => printFacts(cli, factsOf(network)));
      }),
  },
  {
    words: "network allow",
    summary: "Let an app's jobs connect to another app's, or to a service outside of the cluster",
    args: PAIR,
    flags: WAITING,
    more: `In force within a second, with no restart, on every port, and one way: answers come back, but TO opens no connection to FROM.
It waits until the hosts that run either app enforce it. To a service outside (flynn service add) it opens that one port.

  flynn network allow blog db`,
    run: allow,
  },
  {
    words: "network list",
    summary: "List which apps may reach which: of an app, or all when no app is meant",
    run: (call) =>
      withCluster(call, async (client) => {
        const app = await findAppName(call);
        const query = app === undefined ? {} : { app };
        answerList(call.cli, await listAll(client, listNetworkRules, { query, signal: call.cli.signal }), {
          titles: ["FROM", "TO", "ID", "BY", "SINCE"],
          row: ({ from, to, id, createdBy, createdAt }) => [from.name, to.name, id, createdBy, createdAt],
          none: `no rules${app === undefined ? "" : ` from or to ${app}`}; make one: flynn network allow FROM TO`,
        });
      }),
  },
  {
    words: "network remove",
    summary: "Close again what `network allow` opened; connections it let through are cut",
    args: PAIR,
    flags: WAITING,
    more: "  flynn network remove blog db",
    run: remove,
  },
  {
    words: "network hosts",
    summary: "List how far each host enforces what apps may reach",
    run: (call) =>
      withCluster(call, async (client) =>
        answerList(call.cli, await listAll(client, listNetworkHosts, { signal: call.cli.signal }), {
          titles: ["NAME", "STATE", "VERSION", "ENFORCED", "ID"],
          row: ({ id, name, state, version, enforcedVersion }) => [
            name,
            state,
            String(version),
            enforcedVersion === undefined ? "" : String(enforcedVersion),
            id,
          ],
          none: "no host has joined yet",
        }),
      ),
  },
];

const APPS: Record<Network["appNetwork"], string> = {
  app: "their own app; others by `flynn network allow FROM TO` (--app-network app)",
  cluster: "every app's jobs (--app-network cluster)",
};
const OUTSIDE: Record<Network["egress"], string> = {
  all: "everything but closed networks (--app-egress all)",
  internet: "public addresses; no private networks (--app-egress internet)",
  none: "nothing but name servers (--app-egress none)",
};

function factsOf({ appNetwork, egress, closed, open, routers }: Network): [string, string][] {
  return [
    ["Apps reach", APPS[appNetwork] ?? appNetwork],
    ["Outside", OUTSIDE[egress] ?? egress],
    ["Closed", closed.join(" ")],
    ["Open ports", open.map(({ address, ports }) => `${address}: ${ports.join(" ")}`).join("; ")],
    ["Routers", routers.join(" ")],
  ];
}

async function allow(call: Invocation): Promise<void> {
  const [from, to] = call.args as [string, string];
  const timeoutMs = durationMs("--timeout", call.text("timeout")) ?? WAIT_MS;
  await withCluster(call, async (client) => {
    const { cli } = call;
    const body = { from: { name: from }, to: { name: to } };
    const rule = await client.call(createNetworkRule, { body, signal: cli.signal });
    const waited = await inForce(client, call, {
      version: rule.version,
      timeoutMs,
      what: `the rule ${rule.from.name} -> ${rule.to.name} is made`,
    });
    answer(cli, rule, () => {
      cli.print(`Jobs of ${rule.from.name} may open connections to ${wordsOf(rule.to)}${waited}.`);
    });
  });
}

async function remove(call: Invocation): Promise<void> {
  const [from, to] = call.args as [string, string];
  const timeoutMs = durationMs("--timeout", call.text("timeout")) ?? WAIT_MS;
  await withCluster(call, async (client) => {
    const { cli } = call;
    const rules = await listAll(client, listNetworkRules, { query: { app: from }, signal: cli.signal });
    const rule = rules.find((one: NetworkRule) => isNamed(one.from, from) && isNamed(one.to, to));
    if (rule === undefined)
      throw new Fault("not-found", `no rule lets ${from} reach ${to}; see \`flynn network list\``);
    const { version } = await client.call(deleteNetworkRule, { params: { id: rule.id }, signal: cli.signal });
    const waited = await inForce(client, call, {
      version,
      timeoutMs,
      what: `the rule ${rule.from.name} -> ${rule.to.name} is removed`,
    });
    answer(cli, { ...rule, version }, () => {
      cli.print(`Jobs of ${rule.from.name} no longer open connections to ${wordsOf(rule.to)}${waited}.`);
    });
  });
}

const wordsOf = ({ kind, name }: NetworkParty): string => (kind === "service" ? name : `jobs of ${name}`);

const isNamed = ({ id, name }: NetworkParty, text: string): boolean => name === text || id === text;

interface Wait {
  /** The change is in this version of a host's reach and in later ones. */
  version: number;
  timeoutMs: number;
  what: string;
}

/** Waits until every host that the change concerns enforces it. Returns how that ended, for the answer's end. */
async function inForce(client: Client, call: Invocation, { version, timeoutMs, what }: Wait): Promise<string> {
  if (call.on("detach")) return "";
  const { cli } = call;
  const shown = progress(cli);
  const endMs = performance.now() + timeoutMs;
  try {
    for (;;) {
      const hosts: NetworkHost[] = await listAll(client, listNetworkHosts, { signal: cli.signal });
      const late = behind(hosts, version);
      if (late.length === 0) return unproven(hosts, version);
      const names = late.map(({ name }) => name).join(", ");
      if (performance.now() > endMs)
        throw new Fault(
          "timeout",
          `${what}, but not in force yet on ${late.length === 1 ? "host" : "hosts"} ${names}; it comes into force by itself: flynn network hosts`,
        );
      shown.step(`${what}; waiting for ${names}`);
      await sleep(LOOK_MS, cli.signal);
      cli.signal.throwIfAborted();
    }
  } finally {
    shown.end();
  }
}

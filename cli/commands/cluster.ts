// cluster: which clusters this user knows.

import { Fault, isFault } from "#api/fault.ts";
import { getStatus } from "#api/status.ts";
import { clusterClient, defaultTodo, firstCluster, saveCluster, writeClusters } from "../clusters/clusters.ts";
import { type Cluster, clustersFile, readClusters } from "../clusters/clusters-file.ts";
import { tokenRefused, unreachable } from "../clusters/connect.ts";
import { forgetGit, teachGit } from "../git/git-settings.ts";
import { answer, answerList } from "../output/answer.ts";
import { CONFIRM_FLAGS, confirm } from "../output/confirm.ts";
import type { Cli, Command, Invocation } from "../parse/command.ts";

const DEFAULT_PORT = "7777";

export const clusterCommands: readonly Command[] = [
  {
    words: "cluster add",
    summary: "Add a cluster, after checking its certificate authority and the token",
    more: [
      "  flynn cluster add prod https://10.77.0.1:7777 --pin PIN            asks for the token",
      '  echo "$TOKEN" | flynn cluster add prod https://10.77.0.1:7777 - --pin PIN',
      "",
      "Pin, URL and a token are printed by `flynn up` at its first start; later by `flynn cluster list` and `flynn token create` of somebody",
      "who has the cluster. git is told too (git config --global): a credential helper for the URL, and the cluster's CA.",
    ].join("\n"),
    args: [{ name: "NAME", required: true }, { name: "URL", required: true }, { name: "TOKEN" }],
    flags: [
      { name: "pin", short: "p", value: "PIN", help: "sha256 of the cluster's CA certificate, base64" },
      { name: "default", short: "d", help: "Make it the default cluster" },
      { name: "force", short: "f", help: "Replace a cluster of that name" },
    ],
    run: addCluster,
  },
  {
    words: "cluster list",
    summary: "List the clusters known here",
    async run({ cli }) {
      const known = await readClusters(clustersFile(cli.env));
      answerList(
        cli,
        known.clusters.map(({ name, url, pin }) => ({ name, url, pin, default: name === known.default })),
        {
          titles: ["NAME", "URL", "PIN", ""],
          row: (cluster) => [cluster.name, cluster.url, cluster.pin, cluster.default ? "(default)" : ""],
          none: `no cluster is known here yet; ${firstCluster()}`,
        },
      );
    },
  },
  {
    words: "cluster default",
    summary: "Show or choose the default cluster",
    args: [{ name: "NAME", offers: "clusters" }],
    async run({ args: [name], cli }) {
      const file = clustersFile(cli.env);
      const known = await readClusters(file);
      if (name === undefined) {
        if (known.default === undefined)
          throw new Fault("not-found", defaultTodo(known) ?? `no cluster is known here yet; ${firstCluster()}`);
        return answer(cli, { name: known.default }, () => cli.print(known.default!));
      }
      named(known.clusters, name);
      await writeClusters(file, { ...known, default: name });
      answer(cli, { name }, () => cli.print(`"${name}" is now the default cluster.`));
    },
  },
  {
    words: "cluster remove",
    summary: "Forget a cluster and its token; the cluster itself goes on",
    args: [{ name: "NAME", required: true, offers: "clusters" }],
    flags: CONFIRM_FLAGS,
    async run(call) {
      const { cli } = call;
      const file = clustersFile(cli.env);
      const known = await readClusters(file);
      const gone = named(known.clusters, call.args[0]!);
      const { name } = gone;
      if (name === known.default)
        await confirm(call, name, `${name} is the default cluster; its URL, pin and token kept here are lost.`);
      const clusters = known.clusters.filter((cluster) => cluster.name !== name);
      const { default: first, ...rest } = known;
      const left = { ...rest, ...(first !== undefined && first !== name ? { default: first } : {}), clusters };
      await writeClusters(file, left);
      const problem = await forgetGit(gone, clusters, cli.env);
      if (problem) cli.say(problem);
      answer(cli, { name }, () => cli.print(`Cluster "${name}" removed.`));
      const todo = defaultTodo(left);
      if (todo) cli.say(todo);
    },
  },
];

async function addCluster(call: Invocation): Promise<void> {
  const { cli } = call;
  const [name, url, given] = call.args as [string, string, string | undefined];
  const pin = call.text("pin");
  if (!/^[a-z0-9][a-z0-9._-]{0,62}$/i.test(name))
    throw new Fault("invalid", `cluster name ${name}: use letters, digits, dots and dashes`);
  if (pin === undefined) throw new Fault("invalid", `the pin is needed: --pin PIN, ${PIN_WANTED}`);
  if (!/^[A-Za-z0-9+/]{43}=$/.test(pin)) throw new Fault("invalid", `--pin ${pin} is no pin: it is ${PIN_WANTED}`);
  const token = await tokenOf(cli, given);
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Fault("invalid", "the token must be one word of printable characters");
  const file = clustersFile(cli.env);
  const cluster: Cluster = { name, url: clusterUrl(url), pin, caPem: "", token };
  const known = (await readClusters(file)).clusters.find((candidate) => candidate.name === name);
  if (known !== undefined && known.pin !== pin && !call.on("force"))
    throw new Fault(
      "conflict",
      `another cluster is named ${name} (${known.url}); choose another name, or replace it with --force`,
    );
  try {
    const { fetchPinnedCa } = await import("#api/join.ts"); // the X.509 library takes longer to load than all other commands to run
    cluster.caPem = await fetchPinnedCa(cluster.url, pin);
    await checkToken(cluster, cli.signal);
  } catch (error) {
    throw unreachable(error, cluster) ?? tokenRefused(error) ?? error;
  }
  await saveCluster(file, cluster, { makeDefault: call.on("default") });
  answer(cli, { name, url: cluster.url, pin }, () => cli.print(`Cluster "${name}" added.`));
  cli.say(await teachGit(cluster, cli.env));
  for (const other of (await readClusters(file)).clusters)
    if (other.url === cluster.url && other.pin !== pin)
      cli.say(
        `cluster ${other.name} was added for the same address with another certificate authority: git uses ${name} there now; if that cluster is gone: flynn cluster remove ${other.name}`,
      );
}

const PIN_WANTED =
  "44 characters of base64, the last one =; `flynn up` prints it at its first start, and `flynn cluster list` shows it where the cluster is known";

/** As it was given; from stdin for `-`; else asked for. */
async function tokenOf(cli: Cli, given: string | undefined): Promise<string> {
  if (given === "-") return (await cli.readStdin()).trim();
  if (given !== undefined) return given;
  if (!cli.terminal.in)
    throw new Fault(
      "invalid",
      "the token is needed: as the third word, or - to read it from stdin; there is no terminal to ask on",
    );
  return (
    await cli.askSecret("Token of that cluster (flynn token create NAME prints one; it is not shown here): ")
  ).trim();
}

/** A token that may not read the status is a good token all the same. */
async function checkToken(cluster: Cluster, signal: AbortSignal): Promise<void> {
  const client = clusterClient(cluster);
  try {
    await client.call(getStatus, { signal });
  } catch (error) {
    if (!isFault(error, "forbidden")) throw error;
  } finally {
    client.close();
  }
}

/** `10.77.0.1` -> `https://10.77.0.1:7777`. */
export function clusterUrl(text: string): string {
  const url = URL.parse(text.includes("://") ? text : `https://${text}`);
  if (url === null || url.protocol !== "https:" || url.pathname !== "/" || url.username || url.search || url.hash)
    throw new Fault("invalid", `${text} is not a cluster's URL; it looks like https://10.77.0.1:7777`);
  // URL drops a written :443; whoever wrote it means it.
  if (url.port === "") url.port = /:443\/?$/.test(text) ? "443" : DEFAULT_PORT;
  return url.origin;
}

function named(clusters: readonly Cluster[], name: string): Cluster {
  const found = clusters.find((cluster) => cluster.name === name);
  if (found === undefined) throw new Fault("not-found", `no cluster named ${name}; see \`flynn cluster list\``);
  return found;
}

// status, version.
import { getHealth, getStatus, type Status } from "#api/status.ts";
import { type Hello, helloText, ownHello } from "#api/version.ts";
import { formatDuration } from "#lib/units.ts";
import { clusterClient } from "../clusters/clusters.ts";
import { clusterOf, unreachable, withCluster } from "../clusters/connect.ts";
import { answer } from "../output/answer.ts";
import { printTable } from "../output/table.ts";
import { paint, plain, stateColour } from "../output/text.ts";
import type { Command, Invocation } from "../parse/command.ts";

const ASK_MS = 3_000;

/** The command's own version is shown whatever becomes of the cluster. */
async function showVersion(call: Invocation): Promise<void> {
  const { cli } = call;
  const own = ownHello("cli");
  const asked = await askServer(call);
  const known = { version: own.version, protocol: own.protocol, node: process.version, ...asked };
  answer(cli, known, () => {
    cli.print(`flynn ${own.version}`);
    if (asked.server) cli.print(`cluster ${asked.cluster}: ${helloText(asked.server)}`);
    if (asked.problem) cli.say(asked.problem);
  });
}

interface Asked {
  cluster?: string;
  server?: Hello;
  problem?: string;
}

async function askServer(call: Invocation): Promise<Asked> {
  const cluster = await clusterOf(call).catch((error: unknown) => {
    if (call.text("cluster") !== undefined) throw error; // one that was named is to be there
    return undefined;
  });
  if (cluster === undefined) return {};
  const client = clusterClient(cluster, { timeoutMs: ASK_MS });
  try {
    await client.call(getHealth, { signal: call.cli.signal });
    const server = client.peer();
    return server === undefined
      ? {
          cluster: cluster.name,
          problem: `cluster ${cluster.name} does not say its version: it is older than this command`,
        }
      : { cluster: cluster.name, server };
  } catch (error) {
    const server = client.peer();
    const { message } = unreachable(error, cluster) ?? (error as Error);
    return { cluster: cluster.name, ...(server ? { server } : {}), problem: message };
  } finally {
    client.close();
  }
}

/** Undefined when nothing stands, or control knows of none. */
function alertLine(alerts: Status["alerts"]): string | undefined {
  const counts = [counted(alerts?.critical ?? 0, "critical alert"), counted(alerts?.warning ?? 0, "warning")];
  const [first] = alerts?.newest ?? [];
  const said = counts.filter((count) => count !== "").join(", ");
  return said === "" ? undefined : `${said}${first ? `: ${plain(first.what)}` : ""}; see them: flynn alerts`;
}
const counted = (n: number, noun: string): string => (n === 0 ? "" : `${n} ${noun}${n === 1 ? "" : "s"}`);

export const statusCommands: readonly Command[] = [
  {
    words: "status",
    summary: "Every part of the cluster and its health",
    more: "Exit code 1 while a part is down; 0 when all are well or some are degraded.",
    run: (call) =>
      withCluster(call, async (client, cluster) => {
        const { cli } = call;
        const status = await client.call(getStatus, { signal: cli.signal });
        const { counts } = status;
        answer(cli, status, () => {
          const state = paint(status.state, stateColour(status.state), cli.colour.out);
          const up = formatDuration(Date.now() - Date.parse(status.startedAt));
          cli.print(
            `cluster ${cluster.name} at ${cluster.url} is ${state}; version ${status.version}, up ${up}, seq ${status.seq}`,
          );
          cli.print(
            `${counts.hostsReady} of ${counts.hosts} hosts ready, ${counts.machines} machines, ${counts.apps} apps, ${counts.jobsUp} of ${counts.jobs} jobs up, ${counts.routes} routes`,
          );
          const line = alertLine(status.alerts);
          if (line !== undefined) cli.print(paint(line, status.alerts?.critical ? "red" : "yellow", cli.colour.out));
          cli.print("");
          printTable(
            cli,
            ["PART", "STATE", "MESSAGE"],
            status.parts.map((part) => [part.name, part.state, part.message]),
          );
        });
        return status.parts.some((part) => part.state === "down") ? 1 : 0;
      }),
  },
  {
    words: "version",
    summary: "Version of this command, and of the cluster it talks to",
    run: showVersion,
  },
];

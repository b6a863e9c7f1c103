// status, version.
import { getStatus } from "#api/status.ts";
import { formatDuration } from "#lib/units.ts";
import { VERSION } from "#lib/version.ts";
import type { Command } from "../command.ts";
import { withCluster } from "../connect.ts";
import { answer } from "../output/answer.ts";
import { printTable } from "../output/table.ts";
import { paint, stateColour } from "../output/text.ts";

export const statusCommands: readonly Command[] = [
  {
    words: "status",
    summary: "Every part of the cluster and its health",
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
          cli.print("");
          printTable(
            cli,
            ["PART", "STATE", "MESSAGE"],
            status.parts.map((part) => [part.name, part.state, part.message]),
          );
        });
      }),
  },
  {
    words: "version",
    summary: "Version of this command",
    async run({ cli }) {
      answer(cli, { version: VERSION, node: process.version }, () => cli.print(`flynn ${VERSION}`));
    },
  },
];

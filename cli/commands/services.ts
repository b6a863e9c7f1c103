// service: the registry of every process that listens.
import { getService, listServices, type Service } from "#api/services.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { answer, answerList } from "../output/answer.ts";
import { printFacts, printTable } from "../output/table.ts";
import type { Command } from "../parse/command.ts";

export const serviceCommands: readonly Command[] = [
  {
    words: "service list",
    summary: "List every process that listens, and how many of its instances are healthy",
    run: (call) =>
      withCluster(call, async (client) =>
        answerList(call.cli, await listAll(client, listServices, { signal: call.cli.signal }), {
          titles: ["NAME", "APP", "PROCESS", "RELEASE", "HEALTHY", "PORT", "DOMAINS"],
          row: (service) => [
            service.name,
            service.app,
            service.process,
            `v${service.version}`,
            healthy(service),
            service.port === undefined ? "" : String(service.port),
            service.domains.join(" "),
          ],
          none: "nothing listens yet; deploy an app: flynn create NAME, flynn deploy",
        }),
      ),
  },
  {
    words: "service show",
    summary: "Show a service and its instances",
    args: [{ name: "NAME", required: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const service = await client.call(getService, { params: { name: call.args[0]! }, signal: cli.signal });
        answer(cli, service, () => {
          printFacts(cli, [
            ["Name", service.name],
            ["App", `${service.app}, process ${service.process}, release v${service.version}`],
            ["Image", service.image],
            ["Healthy", healthy(service)],
            ["Port", service.port === undefined ? "" : String(service.port)],
            ["Domains", service.domains.join(" ")],
            ["Deployment", service.deploymentId],
          ]);
          if (service.instances.length === 0) return;
          cli.print("");
          printTable(
            cli,
            ["JOB", "STATE", "HOST", "ADDRESS"],
            service.instances.map(({ jobId, state, hostId, address, port }) => [
              jobId,
              state,
              hostId ?? "",
              address === undefined ? "" : `${address}${port === undefined ? "" : `:${port}`}`,
            ]),
          );
        });
      }),
  },
];

const healthy = ({ instances, count }: Service): string =>
  `${instances.filter((instance) => instance.healthy).length} of ${count}`;

// service: the registry of every process that listens, and of what listens outside of the cluster.
import { isIPv4 } from "node:net";
import { createExternalService, deleteExternalService, updateExternalService } from "#api/external-services.ts";
import { Fault } from "#api/fault.ts";
import { getService, listServices, type Service } from "#api/services.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { answer, answerList } from "../output/answer.ts";
import { printFacts, printTable } from "../output/table.ts";
import type { Command, Flag, Invocation } from "../parse/command.ts";

const DESCRIPTION: Flag = { name: "description", value: "TEXT", help: "What it is, for people" };

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
            service.app ?? "(outside)",
            service.process ?? "",
            service.external ? "" : `v${service.version}`,
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
            [
              "App",
              service.external
                ? "none: it runs outside of the cluster"
                : `${service.app}, process ${service.process}, release v${service.version}`,
            ],
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
              jobId ?? "",
              state,
              hostId ?? "",
              address === undefined ? "" : `${address}${port === undefined ? "" : `:${port}`}`,
            ]),
          );
        });
      }),
  },
  {
    words: "service add",
    summary: "Register a service outside of the cluster, such as a database on its own machine",
    args: [
      { name: "NAME", required: true },
      { name: "ADDRESS:PORT", required: true },
    ],
    flags: [DESCRIPTION],
    more: `It is listed beside the services of apps, with whether it answers. No app reaches it before a rule lets it, on that port:

  flynn service add legacy-db 10.20.0.5:5432
  flynn network allow shop legacy-db
  flynn -a shop env set DATABASE_URL=postgres://shop@10.20.0.5/shop`,
    run: (call) =>
      withCluster(call, async (client) => {
        const body = { name: call.args[0]!, ...endpointOf(call.args[1]!), ...descriptionOf(call) };
        const made = await client.call(createExternalService, { body, signal: call.cli.signal });
        answer(call.cli, made, () =>
          call.cli.print(
            `Service ${made.name} is at ${made.address}:${made.port}; let an app reach it: flynn network allow APP ${made.name}`,
          ),
        );
      }),
  },
  {
    words: "service update",
    summary: "Give a service outside of the cluster another address; network rules to it follow",
    args: [
      { name: "NAME", required: true },
      { name: "ADDRESS:PORT", required: true },
    ],
    flags: [DESCRIPTION],
    run: (call) =>
      withCluster(call, async (client) => {
        const body = { ...endpointOf(call.args[1]!), ...descriptionOf(call) };
        const params = { name: call.args[0]! };
        const changed = await client.call(updateExternalService, { params, body, signal: call.cli.signal });
        answer(call.cli, changed, () =>
          call.cli.print(
            `Service ${changed.name} is at ${changed.address}:${changed.port}; apps keep what their variables say.`,
          ),
        );
      }),
  },
  {
    words: "service remove",
    summary: "Forget a service outside of the cluster, with the network rules to it",
    args: [{ name: "NAME", required: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const name = call.args[0]!;
        await client.call(deleteExternalService, { params: { name }, signal: call.cli.signal });
        answer(call.cli, { name }, () => call.cli.print(`Service ${name} removed.`));
      }),
  },
];

function endpointOf(text: string): { address: string; port: number } {
  const [, address, port] = /^([0-9.]+):(\d{1,5})$/.exec(text) ?? [];
  if (address === undefined || !isIPv4(address) || Number(port) < 1 || Number(port) > 65_535)
    throw new Fault("invalid", `${text}: give an IPv4 address and a port, such as 10.20.0.5:5432`);
  return { address, port: Number(port) };
}

function descriptionOf(call: Invocation): { description?: string } {
  const description = call.text("description");
  return description === undefined ? {} : { description };
}

const healthy = ({ instances, count }: Service): string =>
  `${instances.filter((instance) => instance.healthy).length} of ${count}`;

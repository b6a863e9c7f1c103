// limit, restart: both a new release of the same image, deployed as any release is.
import { createRelease, listReleases, type ProcessChanges, ProcessType, type ReleaseSummary } from "#api/apps.ts";
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { DEFAULT_LIMITS, listJobs, stopJob } from "#api/jobs.ts";
import { newId } from "#lib/ids.ts";
import { until } from "#lib/time.ts";
import { formatSize, parseSize } from "#lib/units.ts";
import { appName } from "../apps/app.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { followDeployment } from "../deploy/deployment.ts";
import { ofProcess } from "../jobs/job-names.ts";
import { answer } from "../output/answer.ts";
import { printTable } from "../output/table.ts";
import type { Command, Invocation } from "../parse/command.ts";

const DETACH = { name: "detach", help: "Do not wait for the deployment" };
const REPLACED_WITHIN_MS = 180_000;

export const limitCommands: readonly Command[] = [
  {
    words: "limit",
    summary: "Show the limits of an app's processes",
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const { processes } = await currentRelease(client, call);
        const shown = Object.entries(processes).map(([name, type]) => ({ process: name, ...limitsOf(type) }));
        answer(cli, shown, () =>
          printTable(
            cli,
            ["PROCESS", "MEMORY", "CPU", "PIDS", "DISK"],
            shown.map(({ process, memoryBytes, cpuMillis, pids, diskBytes }) => [
              process,
              formatSize(memoryBytes),
              `${cpuMillis}`,
              `${pids}`,
              formatSize(diskBytes),
            ]),
          ),
        );
      }),
  },
  {
    words: "limit set",
    summary: "Set limits of a process: a new release, deployed",
    more: [
      "  flynn limit set web memory=1GB cpu=500      cpu in thousandths of a core",
      "  flynn limit set worker memory=              the default again",
      "",
      "memory is a hard limit (more is `out of memory`) and what the scheduler reserves; cpu is a share under load and what it",
      "reserves; pids is the most processes and threads; disk is the most a job may have on its host's disk (files it writes, volumes",
      "its image declares, kept output): beyond it the job ends, and is started again as after a crash.",
    ].join("\n"),
    args: [
      { name: "PROCESS", required: true },
      { name: "LIMIT=VALUE", required: true, rest: true },
    ],
    flags: [DETACH],
    run: (call) =>
      withCluster(call, async (client) => {
        const [process, ...words] = call.args as [string, ...string[]];
        await release(client, call, { processChanges: { [process]: limitChanges(words) } }, "limits set");
      }),
  },
  {
    words: "restart",
    summary: "Start an app's jobs anew, each old one only once a new one serves",
    more: [
      "  flynn restart             every process, by a deployment of a new, identical release",
      "  flynn restart worker      the jobs of one process, one after the other",
    ].join("\n"),
    args: [{ name: "PROCESS" }],
    flags: [DETACH],
    run: (call) =>
      withCluster(call, async (client) => {
        const [process] = call.args;
        if (process === undefined) return release(client, call, { description: "restart" }, "restarted");
        await restartProcess(client, call, process);
      }),
  },
];

/** Pure: `memory=1GB cpu=500` as the fields they change; an empty value takes the field away. */
export function limitChanges(words: readonly string[]): ProcessChanges {
  const changes: Record<string, number | null> = {};
  for (const word of words) {
    const [, name, value] = /^([a-z]+)=(.*)$/.exec(word) ?? [];
    const limit = name === undefined ? undefined : LIMITS[name];
    if (limit === undefined || value === undefined)
      throw new Fault("invalid", `${word} is no limit; there are ${Object.keys(LIMITS).join(", ")}, as in memory=1GB`);
    const amount = value === "" ? null : limit.parse(value);
    const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER } = ProcessType.properties[limit.field] as Bounds;
    const wrong =
      amount === undefined
        ? limit.wants
        : amount !== null && (amount < minimum || amount > maximum)
          ? `${limit.wants}, from ${limit.show(minimum)} to ${limit.show(maximum)}`
          : undefined;
    if (wrong !== undefined) throw new Fault("invalid", `${word}: must be ${wrong}`);
    changes[limit.field] = amount ?? null;
  }
  return changes as ProcessChanges;
}

const whole = (text: string): number | undefined => (/^\d{1,9}$/.test(text) ? Number(text) : undefined);
interface Limit {
  field: "memoryBytes" | "cpuMillis" | "pids" | "diskBytes";
  parse: (text: string) => number | undefined;
  show: (amount: number) => string;
  wants: string;
}
/** Of the contract's schema. */
interface Bounds {
  minimum?: number;
  maximum?: number;
}
const LIMITS: Record<string, Limit> = {
  memory: { field: "memoryBytes", parse: parseSize, show: formatSize, wants: "a size such as 512MB" },
  cpu: { field: "cpuMillis", parse: whole, show: String, wants: "thousandths of a core, such as 500" },
  pids: { field: "pids", parse: whole, show: String, wants: "a number such as 200" },
  disk: { field: "diskBytes", parse: parseSize, show: formatSize, wants: "a size such as 10GB" },
};

function limitsOf(type: ReleaseSummary["processes"][string]) {
  return {
    memoryBytes: type.memoryBytes ?? DEFAULT_LIMITS.memoryBytes,
    cpuMillis: type.cpuMillis ?? DEFAULT_LIMITS.cpuMillis,
    pids: type.pids ?? DEFAULT_LIMITS.pids,
    diskBytes: type.diskBytes || DEFAULT_LIMITS.diskBytes,
  };
}

async function currentRelease(client: Client, call: Invocation): Promise<ReleaseSummary> {
  const app = await appName(call);
  const items = await listAll(client, listReleases, { params: { app }, signal: call.cli.signal });
  const current = items.find(({ current: is }) => is) ?? items[0];
  if (current === undefined) throw new Fault("conflict", `app ${app} has no release yet; deploy it first`);
  return current;
}

async function release(
  client: Client,
  call: Invocation,
  body: { processChanges?: Record<string, ProcessChanges>; description?: string },
  done: string,
): Promise<void> {
  const { cli } = call;
  const app = await appName(call);
  const params = { app };
  const { deploymentId: id, ...made } = await client.call(createRelease, {
    params,
    body: { ...body, deploy: true },
    idempotencyKey: newId("release"),
    signal: cli.signal,
  });
  cli.say(`deploying v${made.version} of ${app}: ${made.description}`);
  if (!call.on("detach") && made.artifactId !== undefined && id !== undefined)
    await followDeployment({ client, cli, app, id });
  answer(cli, made, () => cli.print(`${app} v${made.version}: ${done}`));
}

/** One job after the other, so that the others serve; the next goes only once a replacement is up. */
async function restartProcess(client: Client, call: Invocation, process: string): Promise<void> {
  const { cli } = call;
  const app = await appName(call);
  const params = { app };
  const { processes } = await currentRelease(client, call);
  const type = Object.hasOwn(processes, process) ? processes[process] : undefined;
  if (type === undefined)
    throw new Fault("not-found", `app ${app} has no process ${process}; it has ${Object.keys(processes).join(", ")}`);
  const wanted = async () =>
    ofProcess(await listAll(client, listJobs, { params, signal: cli.signal }), process).filter(
      ({ desired }) => desired === "run",
    );
  const old = await wanted();
  if (type.port !== null && old.length === 1) {
    cli.say(`the one ${process} job serves requests: restarting all of ${app}, so that none is lost`);
    return release(client, call, { description: "restart" }, "restarted");
  }
  for (const { id } of old) {
    cli.say(`restarting ${process} ${id}`);
    await client.call(stopJob, { params: { id }, body: {}, signal: cli.signal });
    const replaced = async () => {
      const jobs = await wanted();
      return jobs.length >= old.length && jobs.every((job) => job.id !== id && job.state === "up");
    };
    await until(replaced, { what: `a new ${process} job being up`, timeoutMs: REPLACED_WITHIN_MS, signal: cli.signal });
  }
  answer(cli, await wanted(), () => cli.print(`${process} of ${app} restarted: ${old.length} jobs`));
}

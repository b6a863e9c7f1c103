// limit: a change is a new release of the same image, deployed as any release is.
import { createRelease, listReleases, type ProcessChanges, ProcessType, type ReleaseSummary } from "#api/apps.ts";
import type { Client } from "#api/client.ts";
import { hasEnded, listDeployments } from "#api/deployments.ts";
import { Fault } from "#api/fault.ts";
import { DEFAULT_LIMITS } from "#api/jobs.ts";
import { newId } from "#lib/ids.ts";
import { formatCpu, formatSize, parseSize } from "#lib/units.ts";
import { appName } from "../apps/app.ts";
import { CPU_WANTED, cpuMillis } from "../apps/cpu.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { followDeployment } from "../deploy/deployment.ts";
import { answer } from "../output/answer.ts";
import { printTable } from "../output/table.ts";
import type { Command, Invocation } from "../parse/command.ts";

const DETACH = { name: "detach", help: "Do not wait for the deployment" };

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
              `${formatCpu(cpuMillis)} CPU`,
              `${pids} processes`,
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
      "  flynn limit set web memory=1GB cpu=0.5      cpu in CPUs; 500m is the same",
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
        const changes = limitChanges(words);
        const now = await unchangedRelease(client, call, process, changes);
        if (now === undefined) return release(client, call, { processChanges: { [process]: changes } }, "limits set");
        const app = await appName(call);
        answer(call.cli, { ...now, unchanged: true }, () =>
          call.cli.print(`Nothing changed: v${now.version} of ${app} has these limits already`),
        );
      }),
  },
];

/** Pure: `memory=1GB cpu=0.5` as the fields they change; an empty value takes the field away. */
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

/** Pure: nothing of the process would be another. A field that is absent and one that is the default are not the same: defaults change. */
export const areSet = (type: ReleaseSummary["processes"][string], changes: ProcessChanges): boolean =>
  Object.entries(changes).every(([field, value]) => (type[field as keyof typeof type] ?? null) === value);

/** The current release, when it is as `changes` want it. While a deployment is under way the app is headed for another: control decides. */
async function unchangedRelease(
  client: Client,
  call: Invocation,
  process: string,
  changes: ProcessChanges,
): Promise<ReleaseSummary | undefined> {
  const input = { params: { app: await appName(call) }, signal: call.cli.signal };
  const current = (await listAll(client, listReleases, input)).find((one) => one.current);
  const type = current && Object.hasOwn(current.processes, process) ? current.processes[process] : undefined;
  if (type === undefined || !areSet(type, changes)) return undefined;
  return (await listAll(client, listDeployments, input)).every(hasEnded) ? current : undefined;
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
  cpu: { field: "cpuMillis", parse: cpuMillis, show: formatCpu, wants: CPU_WANTED },
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

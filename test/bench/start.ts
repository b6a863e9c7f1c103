// A one-off job's start end to end, from the POST to `up` and to its exit as a client of the API sees them, against `docker run` of
// the same image on the same network of the same dockerd: `docker run -d` until it returns, `docker run --rm` to its end. One real
// appliance and one real host in a lab of namespaces; rounds are interleaved, a figure is the median.
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { NETWORK } from "../../hostd/job-container.ts";
import { type Appliance, addHost, type ClusterHost, startAppliance } from "../lab/appliance.ts";
import { type Scope, withScope } from "../lab/scope.ts";
import { addApp, containersOn } from "../lab/survival/cluster.ts";
import type { BenchResult } from "./run.ts";
import type { ClientOptions } from "./start/client.ts";

export const name = "start";

interface Options {
  quick?: boolean;
  log?: (line: string) => void;
  signal?: AbortSignal;
}

const APP = "hello";
const CLIENT = fileURLToPath(new URL("start/client.ts", import.meta.url));
const ROUND_TIMEOUT_MS = 300_000;

export function run({ quick = false, log = () => undefined, signal }: Options = {}): Promise<BenchResult> {
  return withScope(
    async (scope) => {
      signal?.throwIfAborted();
      signal?.addEventListener("abort", () => void scope.close(), { once: true });
      return await measure(scope, { rounds: quick ? 1 : 5, perRound: quick ? 2 : 8, log });
    },
    { signals: false },
  );
}

interface Plan {
  rounds: number;
  perRound: number;
  log: (line: string) => void;
}

async function measure(scope: Scope, { rounds, perRound, log }: Plan): Promise<BenchResult> {
  const { signal } = scope;
  const appliance = await startAppliance(scope);
  const host = await addHost(scope, appliance, 1);
  await addApp({ scope, appliance, hosts: [host] }, { name: APP });
  const image = await imageOf(host);
  const seen = { job: { running: [], exit: [] } as Seen, docker: { running: [], exit: [] } as Seen };
  await viaApi(appliance, { waitFor: "exit", count: 1, signal }); // warm-up
  await viaDocker(host, image, { waitFor: "exit", count: 1, signal });
  for (let round = 1; round <= rounds; round++)
    for (const waitFor of ["running", "exit"] as const) {
      const task = { waitFor, count: perRound, signal };
      const [job, docker] = [await viaApi(appliance, task), await viaDocker(host, image, task)];
      seen.job[waitFor].push(...job);
      seen.docker[waitFor].push(...docker);
      const [ours, theirs] = [Math.round(median(job)), Math.round(median(docker))];
      log(`round ${round} of ${rounds}, ${waitFor}: ${ours} ms, docker run ${theirs} ms`);
    }
  const { job, docker } = seen;
  return {
    figures: {
      runningMs: median(job.running),
      exitMs: median(job.exit),
      exitP90Ms: quantile(job.exit, 0.9),
      dockerRunningMs: median(docker.running),
      dockerExitMs: median(docker.exit),
      dockerExitP90Ms: quantile(docker.exit, 0.9),
    },
    ratios: {
      running: median(docker.running) / median(job.running),
      exit: median(docker.exit) / median(job.exit),
    },
    notes: [
      `${rounds * perRound} starts each; a job's time has the API, the scheduler, records on disk and the host's report in it`,
      "docker run: with the start of the command line tool, as who types it waits for it; a ratio is docker run / job",
    ],
  };
}

interface Starts {
  waitFor: ClientOptions["waitFor"];
  count: number;
  signal: AbortSignal;
}
type Seen = Record<Starts["waitFor"], number[]>;

async function viaApi(
  { lan, address, stateDir, home }: Appliance,
  { waitFor, count, signal }: Starts,
): Promise<number[]> {
  const options: ClientOptions = {
    url: `https://${address}:7777`,
    caFile: join(stateDir, "control/pki/ca.pem"),
    clustersFile: join(home, "clusters.json"),
    app: APP,
    count,
    waitFor,
  };
  const { stdout } = await lan.exec([process.execPath, CLIENT, JSON.stringify(options)], {
    timeoutMs: ROUND_TIMEOUT_MS,
    env: process.env,
    signal,
  });
  return JSON.parse(stdout) as number[];
}

async function viaDocker(host: ClusterHost, image: string, { waitFor, count, signal }: Starts): Promise<number[]> {
  const tookMs: number[] = [];
  const options = { timeoutMs: 60_000, env: process.env, signal };
  for (let n = 0; n < count; n++) {
    const rest = waitFor === "running" ? ["--detach", image, "sleep", "600"] : ["--rm", image, "true"];
    const startedMs = performance.now();
    const { stdout } = await host.exec(["docker", "run", `--network=${NETWORK}`, ...rest], options);
    tookMs.push(performance.now() - startedMs);
    if (waitFor === "running") await host.exec(["docker", "rm", "--force", stdout.trim()], options);
  }
  return tookMs;
}

/** The image of the app as the host's Docker has it. */
async function imageOf(host: ClusterHost): Promise<string> {
  const [running] = await containersOn(host);
  if (running === undefined) throw new Error("no job of the app runs on the host");
  const { body } = await host.docker("GET", `/containers/${running.id}/json`);
  return (JSON.parse(body) as { Image: string }).Image;
}

const quantile = (values: number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))]!;
const median = (values: number[]): number => quantile(values, 0.5);

// Requests per second through the HAProxy the router runs, against the same HAProxy with a configuration written by hand
// for the one app: same origin, same client, one thread each, both logging every request; interleaved rounds, medians.
// Then the time from a new job in the target to the first answer it gave through the router.
import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stopChild } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { run as runProgram } from "#lib/run.ts";
import { until } from "#lib/time.ts";
import { copyAccessLog } from "../../router/access-log.ts";
import { freePort } from "../lib/free-port.ts";
import { get, origin, startRig, target } from "../router/rig.ts";
import { CONNECTIONS, HOST, handConfig, median, originConfig, startHaproxy, type Wrk, wrk } from "./router/peer.ts";
import { atSize } from "./router/size.ts";

export const name = "router";

export interface RouterBenchOptions {
  quick?: boolean;
  log?: (line: string) => void;
  signal?: AbortSignal;
}

export async function run({ quick = false, log = () => undefined, signal }: RouterBenchOptions = {}) {
  const rounds = quick ? 1 : 7;
  const seconds = quick ? 1 : 2;
  const folder = await mkdtemp(join(tmpdir(), "router-bench-"));
  const children: ChildProcess[] = [];
  const stopLog = new AbortController();
  const killAll = () => {
    for (const child of children) child.kill("SIGKILL");
  };
  process.once("exit", killAll);
  const rig = await startRig({ threads: 1, accessLog: true, backends: 32, slots: 8 });
  let copying: Promise<void> = Promise.resolve();
  try {
    const [originPort, handPort] = [await freePort(), await freePort()];
    children.push(await startHaproxy(folder, "origin", originConfig(originPort), originPort));
    children.push(await startHaproxy(folder, "hand", handConfig(handPort, originPort), handPort));
    const { accessPipe: pipe } = rig.haproxy;
    const file = join(folder, "access.log");
    copying = copyAccessLog({ pipe, file, jobOf: rig.converger.jobOf, log: silentLog(), signal: stopLog.signal });
    await rig.serve(target(1, [{ app: "hello", routes: [HOST], jobs: [{ port: originPort }] }]));
    const ports = { ours: rig.port, haproxy: handPort };
    const results = { ours: [] as Wrk[], haproxy: [] as Wrk[] };
    for (const port of Object.values(ports)) await wrk(port, 1, signal); // warm-up
    for (let round = 0; round < rounds; round++) {
      const order = round % 2 === 0 ? (["ours", "haproxy"] as const) : (["haproxy", "ours"] as const);
      for (const who of order) {
        const result = await wrk(ports[who], seconds, signal);
        results[who].push(result);
        log(`round ${round + 1}/${rounds} ${who}: ${Math.round(result.requestsPerSecond)} requests/s`);
      }
    }
    const firstMs = await firstAnswers(rig, quick ? 3 : 20);
    const { reloads } = rig.converger.state();
    const of = (who: "ours" | "haproxy", key: keyof Wrk) => median(results[who].map((result) => result[key]));
    // Of each round by itself, then the median: a busy machine slows both halves of a round alike.
    const ratio = median(
      results.ours.map(({ requestsPerSecond }, n) => requestsPerSecond / results.haproxy[n]!.requestsPerSecond),
    );
    const size = await atSize({ quick, folder, log, signal, children });
    return {
      figures: {
        requestsPerSecond: Math.round(of("ours", "requestsPerSecond")),
        haproxyRequestsPerSecond: Math.round(of("haproxy", "requestsPerSecond")),
        p99Ms: of("ours", "p99Ms"),
        haproxyP99Ms: of("haproxy", "p99Ms"),
        failedRequests: [...results.ours, ...results.haproxy].reduce((sum, { failed }) => sum + failed, 0),
        healthyToFirstRequestMs: median(firstMs),
        healthyToFirstRequestMaxMs: Math.max(...firstMs),
        reloads,
        ratioOneRoute: Number(ratio.toFixed(3)),
        ratioAtSize: Number(size.ratio.toFixed(3)),
        ...size.figures,
      },
      ratios: { haproxy: Number(Math.min(ratio, size.ratio).toFixed(3)) },
      notes: [
        `1 HAProxy thread each, wrk with ${CONNECTIONS} connections kept open, origin another HAProxy; ${rounds} rounds of ${seconds} s`,
        "the configuration by hand knows one host and one server; ours looks up maps and has 256 slots ready",
        "client, proxy, origin and the reader of the log share the machine's cores",
      ],
    };
  } finally {
    stopLog.abort();
    await copying.catch(() => undefined);
    for (const child of children) await stopChild(child, 500);
    await rig.end();
    process.removeListener("exit", killAll);
    await rm(folder, { recursive: true, force: true });
  }
}

/** From handing over a target whose only job is new to that job's first answer through the router. */
async function firstAnswers(rig: Awaited<ReturnType<typeof startRig>>, times: number): Promise<number[]> {
  const tookMs: number[] = [];
  const jobs: Awaited<ReturnType<typeof origin>>[] = [];
  try {
    for (let n = 0; n < times; n++) {
      const job = await origin(`job-${n}`);
      jobs.push(job); // earlier ones live on, as in a deployment
      const startedMs = performance.now();
      const next = target(n + 2, [{ app: "hello", routes: [HOST], jobs: [job] }]);
      if (!rig.converger.accept(next)) throw new Error("the target was refused");
      const answers = async () => (await get(rig.port, HOST)).body === job.name;
      await until(answers, { what: "first answer", timeoutMs: 5_000, everyMs: 1 });
      tookMs.push(Number((performance.now() - startedMs).toFixed(1)));
      const isServed = () => rig.converger.state().generation === next.generation;
      await until(isServed, { what: "generation", timeoutMs: 5_000, everyMs: 2 });
    }
  } finally {
    for (const job of jobs) await job.close();
  }
  return tookMs;
}

if (import.meta.main)
  runProgram(async (signal) => {
    const quick = process.argv.includes("--quick");
    console.log(JSON.stringify(await run({ signal, quick, log: (line) => console.error(line) }), undefined, 2));
    return 0;
  });

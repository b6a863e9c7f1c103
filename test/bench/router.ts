// Requests per second through the HAProxy the router runs, against the same HAProxy with a configuration written by hand
// for the one app: same origin, same client, one thread each, both logging every request; interleaved rounds, medians.
// Then the time from a new job in the target to the first answer it gave through the router.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exec, stopChild } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { run as runProgram } from "#lib/run.ts";
import { until } from "#lib/time.ts";
import { copyAccessLog } from "../../router/access-log.ts";
import { freePort } from "../lib/free-port.ts";
import { get, origin, startRig, target } from "../router/rig.ts";

export const name = "router";

export interface RouterBenchOptions {
  quick?: boolean;
  log?: (line: string) => void;
  signal?: AbortSignal;
}

const CONNECTIONS = 64;
const HOST = "hello.test";

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
    const of = (who: "ours" | "haproxy", key: keyof Wrk) => median(results[who].map((result) => result[key]));
    // Of each round by itself, then the median: a busy machine slows both halves of a round alike.
    const ratio = median(
      results.ours.map(({ requestsPerSecond }, n) => requestsPerSecond / results.haproxy[n]!.requestsPerSecond),
    );
    return {
      figures: {
        requestsPerSecond: Math.round(of("ours", "requestsPerSecond")),
        haproxyRequestsPerSecond: Math.round(of("haproxy", "requestsPerSecond")),
        p99Ms: of("ours", "p99Ms"),
        haproxyP99Ms: of("haproxy", "p99Ms"),
        failedRequests: [...results.ours, ...results.haproxy].reduce((sum, { failed }) => sum + failed, 0),
        healthyToFirstRequestMs: median(firstMs),
        healthyToFirstRequestMaxMs: Math.max(...firstMs),
        reloads: rig.converger.state().reloads,
      },
      ratios: { haproxy: Number(ratio.toFixed(3)) },
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

interface Wrk {
  requestsPerSecond: number;
  p99Ms: number;
  failed: number;
}

async function wrk(port: number, seconds: number, signal?: AbortSignal): Promise<Wrk> {
  const argv = [
    "wrk",
    "-t1",
    `-c${CONNECTIONS}`,
    `-d${seconds}s`,
    "--latency",
    "-H",
    `Host: ${HOST}`,
    `http://127.0.0.1:${port}/`,
  ];
  const { stdout } = await exec(argv, { signal, timeoutMs: (seconds + 20) * 1_000 });
  const rate = /^Requests\/sec:\s+([\d.]+)/m.exec(stdout)?.[1];
  const p99 = /^\s+99%\s+([\d.]+)(us|ms|s)/m.exec(stdout);
  if (!rate || !p99) throw new Error(`wrk printed ${stdout}`);
  const socket = /^\s+Socket errors: (.*)$/m.exec(stdout)?.[1] ?? "";
  const failed = [...socket.matchAll(/\d+/g)].reduce((sum, [count]) => sum + Number(count), 0);
  const bad = Number(/^\s+Non-2xx or 3xx responses: (\d+)/m.exec(stdout)?.[1] ?? 0);
  return {
    requestsPerSecond: Number(rate),
    p99Ms: Number(p99[1]) * { us: 0.001, ms: 1, s: 1_000 }[p99[2] as "us" | "ms" | "s"],
    failed: failed + bad,
  };
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

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

async function startHaproxy(folder: string, file: string, config: string, port: number): Promise<ChildProcess> {
  const path = join(folder, `${file}.cfg`);
  await writeFile(path, config);
  // Run as ours is: a master and a worker in a session of their own (the kernel shares time by session).
  const child = spawn("haproxy", ["-W", "-f", path], { detached: true, stdio: ["ignore", "pipe", "ignore"] });
  child.stdout!.resume(); // its log is read, and thrown away
  await Promise.race([
    until(async () => (await get(port, HOST)).status === 200, { what: `${file} answers`, timeoutMs: 5_000 }),
    once(child, "exit").then(() => Promise.reject(new Error(`${file}: HAProxy ended`))),
  ]);
  return child;
}

const originConfig = (port: number) => `global
  nbthread 1
  maxconn 1000
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 2s
frontend origin
  bind 127.0.0.1:${port}
  http-request return status 200 content-type text/plain string "hello from the app"
`;

/** What somebody who knows HAProxy writes for one app: the same timeouts, headers, retries, checks and log. */
const handConfig = (port: number, originPort: number) => `global
  nbthread 1
  maxconn 2000
  log stdout format raw local0
defaults
  mode http
  log global
  option dontlognull
  option httplog
  option idle-close-on-response
  option abortonclose
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  timeout queue 10s
  timeout http-request 15s
  timeout http-keep-alive 30s
frontend http
  bind 127.0.0.1:${port}
  unique-id-format %[uuid()]
  unique-id-header X-Request-Id
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-response set-header X-Request-Id %[unique-id]
  acl is_hello hdr(host) -i ${HOST}
  use_backend hello if is_hello
backend hello
  balance leastconn
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response
  http-request disable-l7-retry unless { method GET HEAD OPTIONS }
  http-reuse safe
  server s1 127.0.0.1:${originPort} check inter 1s fall 2 rise 1
`;

if (import.meta.main)
  runProgram(async (signal) => {
    const quick = process.argv.includes("--quick");
    console.log(JSON.stringify(await run({ signal, quick, log: (line) => console.error(line) }), undefined, 2));
    return 0;
  });

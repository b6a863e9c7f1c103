// The router with thousands of routes and certificates: requests per second beside a HAProxy of the same size that is written by hand, the
// time from a moved job to its first answer, and the longest turn that the program's event loop had meanwhile.
import type { ChildProcess } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { RouterTarget } from "#api/router-agents.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { copyAccessLog } from "../../../router/access-log.ts";
import { freePort } from "../../lib/free-port.ts";
import { get, origin, type Rig, startRig, target } from "../../router/rig.ts";
import { certificateFor, handshake } from "../../router/secure.ts";
import { HOST, handConfig, median, originConfig, startHaproxy, type Wrk, wrk } from "./peer.ts";

export interface SizeOptions {
  quick: boolean;
  folder: string;
  log: (line: string) => void;
  signal: AbortSignal | undefined;
  /** Processes to end, whatever happens. */
  children: ChildProcess[];
}

const TURN_RESOLUTION_MS = 5;

export async function atSize({ quick, folder, log, signal, children }: SizeOptions) {
  const [routes, certificates] = quick ? [200, 10] : [10_000, 1_000];
  const [rounds, changes] = quick ? [1, 3] : [5, 100];
  const [originPort, handPort] = [await freePort(), await freePort()];
  children.push(await startHaproxy(folder, "origin-at-size", originConfig(originPort), originPort));
  await writeFile(join(folder, "hosts.map"), [HOST, ...others(routes)].map((host) => `${host} ${host}\n`).join(""));
  const hand = handOf({ port: handPort, originPort, routes, map: join(folder, "hosts.map") });
  children.push(await startHaproxy(folder, "hand-at-size", hand, handPort));
  const made: Certificate[] = [];
  for (let n = 0; n < certificates; n++) made.push(await certificateFor(`c${n}`, [`a${n}.test`]));
  log(`${routes} routes, ${certificates} certificates`);
  const rig = await startRig({ threads: 1, accessLog: true, https: true, backends: 32, slots: 8 });
  const stopLog = new AbortController();
  const { accessPipe: pipe } = rig.haproxy;
  const copying = copyAccessLog({
    ...{ pipe, file: join(folder, "access-at-size.log"), jobOf: rig.converger.jobOf },
    ...{ log: silentLog(), signal: stopLog.signal },
  });
  try {
    const apps = [HOST, ...others(routes)].map((host, n) => ({
      app: `app${n}`,
      routes: [host],
      jobs: [{ port: originPort }],
    }));
    let now: RouterTarget = { ...target(1, apps), certificates: made };
    const startedMs = performance.now();
    await served(rig, now, 300_000);
    const firstMs = performance.now() - startedMs;
    log(`all of it served after ${(firstMs / 1_000).toFixed(1)} s`);
    const results: Record<"ours" | "haproxy", Wrk[]> = { ours: [], haproxy: [] };
    for (let round = 0; round < rounds; round++)
      for (const who of round % 2 === 0 ? (["ours", "haproxy"] as const) : (["haproxy", "ours"] as const))
        results[who].push(await wrk(who === "ours" ? rig.port : handPort, quick ? 1 : 2, signal));
    const ratio = median(
      results.ours.map(({ requestsPerSecond }, n) => requestsPerSecond / results.haproxy[n]!.requestsPerSecond),
    );
    const turns = monitorEventLoopDelay({ resolution: TURN_RESOLUTION_MS });
    turns.enable();
    const moved = await moves(rig, now, changes);
    now = moved.now;
    const renewed: number[] = [];
    for (let n = 0; n < Math.min(changes, 10); n++) {
      const certificate = await certificateFor(`c${n}`, [`a${n}.test`]);
      now = { ...now, generation: now.generation + 1, certificates: now.certificates!.with(n, certificate) };
      const fromMs = performance.now();
      await served(rig, now, 60_000);
      renewed.push(performance.now() - fromMs);
    }
    turns.disable();
    const shown = await handshake(rig.httpsPort, "a1.test");
    if (!shown.names.includes("a1.test")) throw new Error(`a1.test was shown a certificate of ${shown.names}`);
    moved.tookMs.sort((a, b) => a - b);
    return {
      figures: {
        sizeRoutes: routes,
        sizeCertificates: certificates,
        sizeFirstMs: Math.round(firstMs),
        sizeChangeMedianMs: round1(median(moved.tookMs)),
        sizeChangeP99Ms: round1(moved.tookMs[Math.floor(moved.tookMs.length * 0.99)]!),
        sizeRenewalMedianMs: round1(median(renewed)),
        sizeLongestTurnMs: round1(turns.max / 1e6 - TURN_RESOLUTION_MS),
        sizeRequestsPerSecond: Math.round(median(results.ours.map(({ requestsPerSecond }) => requestsPerSecond))),
        sizeFailedRequests: [...results.ours, ...results.haproxy].reduce((sum, { failed }) => sum + failed, 0),
      },
      ratio,
    };
  } finally {
    stopLog.abort();
    await copying;
    await rig.end();
  }
}

type Certificate = NonNullable<RouterTarget["certificates"]>[number];

const others = (count: number): string[] => Array.from({ length: count - 1 }, (_, n) => `a${n}.test`);

async function served(rig: Rig, next: RouterTarget, timeoutMs: number): Promise<void> {
  if (!rig.converger.accept(next)) throw new Error("the target was refused");
  const isServed = () => rig.converger.state().generation === next.generation && rig.converger.state().healthy;
  await until(isServed, { what: `generation ${next.generation}`, timeoutMs, everyMs: 2 });
}

/** One job of one app moves, again and again: from the target to the first answer of where it went. */
async function moves(rig: Rig, from: RouterTarget, times: number) {
  const jobs = [await origin("one"), await origin("other")];
  const tookMs: number[] = [];
  let now = from;
  try {
    for (let n = 0; n < times; n++) {
      const at = (n * 97) % from.pools.length;
      const { domain } = now.routes[at]!;
      const job = jobs[n % 2]!;
      const backends = [{ jobId: `moved-${n}`, address: "127.0.0.1", port: job.port, state: "up" as const }];
      now = { ...now, generation: now.generation + 1, pools: now.pools.with(at, { ...now.pools[at]!, backends }) };
      const fromMs = performance.now();
      if (!rig.converger.accept(now)) throw new Error("the target was refused");
      const answers = async () => (await get(rig.port, domain)).body === job.name;
      await until(answers, { what: "the first answer", timeoutMs: 60_000, everyMs: 2 });
      tookMs.push(performance.now() - fromMs);
      await until(() => rig.converger.state().generation === now.generation, {
        what: "the generation",
        timeoutMs: 60_000,
        everyMs: 2,
      });
    }
  } finally {
    for (const job of jobs) await job.close();
  }
  return { tookMs, now };
}

/** The configuration by hand again, with a map of hosts and a backend for each. */
function handOf({ port, originPort, routes, map }: { port: number; originPort: number; routes: number; map: string }) {
  const [head] = handConfig(port, originPort).split("  acl is_hello");
  const backend = (host: string) => `backend ${host}
  balance leastconn
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response
  http-request disable-l7-retry unless { method GET HEAD OPTIONS }
  http-reuse safe
  server s1 127.0.0.1:${originPort} check inter 4s fall 2 rise 1
`;
  return `${head}  use_backend %[req.hdr(host),field(1,:),lower,map(${map})]
${[HOST, ...others(routes)].map(backend).join("")}`;
}

const round1 = (value: number): number => Number(value.toFixed(1));

// A router on loopback with the real HAProxy: origins, targets, a client that counts, and an end to all of it.
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { Agent, createServer, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RouterTarget } from "#api/router-agents.ts";
import { type Log, silentLog } from "#lib/log.ts";
import { every, until } from "#lib/time.ts";
import { type Converger, createConverger } from "../../router/converge.ts";
import { createHaproxy, type Haproxy } from "../../router/haproxy.ts";
import type { Pace } from "../../router/reload.ts";
import type { RenderOptions } from "../../router/render-options.ts";
import { freePort } from "../lib/free-port.ts";

export interface Origin {
  name: string;
  port: number;
  requests: number;
  open: number;
  server: Server;
  close(): Promise<void>;
}

/** Answers with its name; `/slow` waits for `release`, `/echo` answers the headers it got. */
export async function origin(name: string, port = 0): Promise<Origin & { release(): void }> {
  const held: ServerResponse[] = [];
  const server = createServer({ keepAliveTimeout: 65_000 }, (req, res) => {
    self.requests++;
    self.open++;
    res.on("close", () => self.open--);
    req.resume();
    if (req.url === "/slow") return void held.push(res);
    res.end(req.url === "/echo" ? JSON.stringify(req.headers) : name);
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const self = {
    name,
    port: (server.address() as AddressInfo).port,
    requests: 0,
    open: 0,
    server,
    release: () => {
      for (const res of held.splice(0)) res.end(name);
    },
    close: async () => {
      self.release();
      server.closeAllConnections();
      server.close();
      await once(server, "close").catch(() => undefined);
    },
  };
  return self;
}

export interface PoolSketch {
  app: string;
  routes: string[];
  jobs: { port: number; name?: string; state?: "up" | "drain" }[];
  /** Of each of its routes. */
  options?: Pick<RouterTarget["routes"][number], "tls" | "sticky" | "hstsSeconds" | "protocol" | "rate">;
  maintenance?: string;
  errorPage?: string;
  /** Of each of its routes; the pool is the app's with `@next`. */
  canary?: { percent: number; jobs: PoolSketch["jobs"] };
}

/** A whole target from a sketch: routes are `host` or `host/path`. */
export function target(generation: number, pools: PoolSketch[], term = 1): RouterTarget {
  return {
    term,
    generation,
    clusterRange: "100.64.0.0/16",
    peers: [],
    pools: pools.flatMap(withCanary).map(({ app, jobs, maintenance, errorPage, suffix = "" }) => ({
      ...(maintenance === undefined ? {} : { maintenance }),
      ...(errorPage === undefined ? {} : { errorPage }),
      id: `${app}/web${suffix}`,
      app,
      process: "web",
      backends: jobs.map(({ port, name, state = "up" }) => ({
        jobId: name ?? `${app}-${port}`,
        address: "127.0.0.1",
        port,
        state,
      })),
    })),
    routes: pools.flatMap(({ app, routes, options, canary }) =>
      routes.map((route) => {
        const [domain = "", ...path] = route.split("/");
        return {
          domain,
          path: `/${path.join("/")}`,
          poolId: `${app}/web`,
          ...options,
          ...(canary ? { canary: { poolId: `${app}/web@next`, percent: canary.percent } } : {}),
        };
      }),
    ),
  };
}

const withCanary = ({ canary, ...pool }: PoolSketch): (PoolSketch & { suffix?: string })[] =>
  canary === undefined ? [pool] : [pool, { ...pool, jobs: canary.jobs, suffix: "@next" }];

export interface Rig {
  directory: string;
  port: number;
  /** 0 without `https`. */
  httpsPort: number;
  haproxy: Haproxy;
  converger: Converger;
  /** Hands the target over and waits until it is verified as served. */
  serve(next: RouterTarget): Promise<void>;
  /** Ends the program's loop only; HAProxy goes on. */
  abandon(): Promise<void>;
  end(): Promise<void>;
}

export interface RigOptions {
  directory?: string;
  port?: number;
  backends?: number;
  slots?: number;
  verifyEveryMs?: number;
  accessLog?: boolean;
  threads?: number;
  log?: Log;
  https?: boolean;
  proxySources?: string[];
  trustedFronts?: string[];
  bind?: string;
  timeouts?: RenderOptions["timeouts"];
  pace?: Pace;
}

export async function startRig(options: RigOptions = {}): Promise<Rig> {
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), "router-")));
  const port = options.port ?? (await freePort());
  const { backends = 4, slots = 4, verifyEveryMs, accessLog = false, threads = 2, log = silentLog() } = options;
  const httpsPort = options.https ? await freePort() : undefined;
  const { proxySources, trustedFronts, timeouts, pace, bind = "127.0.0.1" } = options;
  const render: RenderOptions = {
    directory,
    bind,
    httpPort: port,
    httpsPort,
    proxySources,
    trustedFronts,
    timeouts,
    maxConnections: 2_000,
    threads,
    accessLog,
  };
  const haproxy = await createHaproxy({
    binary: "haproxy",
    directory,
    bind: render.bind,
    httpPort: port,
    httpsPort,
    accessLog,
  });
  const converger = createConverger({
    haproxy,
    render,
    stateDir: directory,
    backends,
    slots,
    log,
    verifyEveryMs,
    pace,
  });
  const controller = new AbortController();
  try {
    await converger.begin();
  } catch (error) {
    await haproxy.stop(0);
    throw error;
  }
  const loop = converger.run(controller.signal);
  const abandon = async () => {
    controller.abort();
    await loop;
  };
  return {
    directory,
    port,
    httpsPort: httpsPort ?? 0,
    haproxy,
    converger,
    async serve(next) {
      if (!converger.accept(next)) throw new Error(`target ${next.generation} was refused`);
      const isServed = () => converger.state().generation === next.generation && converger.state().healthy;
      await until(isServed, { what: `generation ${next.generation}`, timeoutMs: 10_000, everyMs: 2 });
    },
    abandon,
    async end() {
      await abandon();
      await haproxy.stop(0);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export interface Answer {
  status: number;
  body: string;
  headers: Record<string, string | string[] | undefined>;
}

export interface GetOptions {
  path?: string;
  method?: string;
  headers?: Record<string, string>;
  agent?: Agent;
  body?: string;
}

export function get(port: number, host: string, options: GetOptions = {}): Promise<Answer> {
  const { path = "/", method = "GET", headers, agent, body } = options;
  return new Promise((resolve, reject) => {
    const req = request(
      { host: "127.0.0.1", port, path, method, agent: agent ?? false, headers: { ...headers, host }, timeout: 10_000 },
      (res) => {
        let text = "";
        res.setEncoding("utf8");
        res.on("data", (chunk: string) => (text += chunk));
        res.on("end", () => resolve({ status: res.statusCode ?? 0, body: text, headers: res.headers }));
        res.on("error", reject);
      },
    );
    req.on("timeout", () => req.destroy(new Error("no answer within 10 s")));
    req.on("error", reject);
    req.end(body);
  });
}

export interface Load {
  /** Answers by body, so far. */
  answers: Map<string, number>;
  failures: string[];
  count(): number;
  stop(): Promise<void>;
}

/** `clients` loops that ask without a pause until stopped; half on connections kept open, half on new ones. */
export function startLoad(port: number, host: string, clients = 8): Load {
  const controller = new AbortController();
  const answers = new Map<string, number>();
  const failures: string[] = [];
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  let count = 0;
  const loop = async (n: number) => {
    for await (const _ of every(1, controller.signal)) {
      try {
        const isPost = count % 5 === 0;
        const answer = await get(port, host, {
          agent: n % 2 === 0 ? agent : undefined,
          method: isPost ? "POST" : "GET",
          body: isPost ? "x" : undefined,
        });
        count++;
        answers.set(answer.body, (answers.get(answer.body) ?? 0) + 1);
        if (answer.status !== 200) failures.push(`${answer.status} ${answer.body}`);
      } catch (error) {
        failures.push(String(error));
      }
    }
  };
  const loops = Array.from({ length: clients }, (_, n) => loop(n));
  return {
    answers,
    failures,
    count: () => count,
    async stop() {
      controller.abort();
      await Promise.all(loops);
      agent.destroy();
    },
  };
}

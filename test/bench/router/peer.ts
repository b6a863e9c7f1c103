// The client of the router's benchmarks, and the other HAProxy: one with a configuration written by hand.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import { get } from "../../router/rig.ts";

export const CONNECTIONS = 64;
export const HOST = "hello.test";

export interface Wrk {
  requestsPerSecond: number;
  p99Ms: number;
  failed: number;
}

export async function wrk(port: number, seconds: number, signal?: AbortSignal): Promise<Wrk> {
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

export const median = (values: number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

export async function startHaproxy(folder: string, file: string, config: string, port: number): Promise<ChildProcess> {
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

export const originConfig = (port: number) => `global
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
export const handConfig = (port: number, originPort: number) => `global
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

// A 200 MB root image over HTTP, ours against nginx (sendfile, one worker) on loopback: 1, 50 and 200 readers, interleaved rounds, a
// figure is the median. The readers are one Node process that drops what it gets, the same for both servers. Memory is the
// high-water mark of our server process.
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stopChild } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { run as runProgram } from "#lib/run.ts";
import { deadline, until } from "#lib/time.ts";
import { bootHttpServer } from "../../bootstrap/http/server.ts";
import { openImages } from "../../bootstrap/images.ts";
import { writeImage } from "../bootstrap/image-fixture.ts";
import { freePort } from "../lib/free-port.ts";

export const name = "artefacts";

export interface ArtefactBenchOptions {
  quick?: boolean;
  log?: (line: string) => void;
  signal?: AbortSignal;
}

const SELF = fileURLToPath(import.meta.url);
const FILE_BYTES = 200_000_000;
const READERS = [1, 50, 200] as const;
const ROUND_TIMEOUT_MS = 120_000;

export async function run({ quick = false, log = () => undefined, signal }: ArtefactBenchOptions = {}): Promise<{
  figures: Record<string, number>;
  ratios: Record<string, number>;
  notes: string[];
}> {
  const rounds = quick ? 1 : 5;
  const folder = await mkdtemp(join(tmpdir(), "artefacts-bench-"));
  const children: ChildProcess[] = [];
  const killAll = () => {
    for (const child of children) child.kill("SIGKILL");
  };
  process.once("exit", killAll);
  try {
    const fixture = await writeImage(folder, { squashfs: Buffer.alloc(FILE_BYTES, "squashfs") });
    const ours = await startOurs(folder, children);
    const nginx = await startNginx(folder, children);
    const targets = {
      ours: { ...ours, path: `/a/sha256-${fixture.manifest.squashfs.sha256}/root.squashfs` },
      nginx: { ...nginx, path: "/images/img1/root.squashfs" },
    };
    const load = fork(SELF, ["load"]);
    children.push(load);
    await once(load, "message");
    const samples = new Map<string, number[]>();
    const peaks = new Map<number, number>();
    for (const readers of READERS) {
      for (let n = 0; n < (readers > 100 ? Math.min(rounds, 3) : rounds); n++) {
        for (const server of n % 2 === 0 ? (["ours", "nginx"] as const) : (["nginx", "ours"] as const)) {
          signal?.throwIfAborted();
          const { port, path } = targets[server];
          const repeat = readers === 1 ? 3 : 1;
          load.send({ port, path, readers, repeat });
          const [{ ms, bytes }] = (await deadline(
            once(load, "message"),
            ROUND_TIMEOUT_MS,
            `${readers} readers of ${server}`,
          )) as [{ ms: number; bytes: number }];
          if (bytes !== FILE_BYTES * readers * repeat)
            throw new Error(`${server} sent ${bytes} bytes to ${readers} readers`);
          const megabytesPerSecond = bytes / 1e6 / (ms / 1_000);
          const key = `${server}${readers}`;
          samples.set(key, [...(samples.get(key) ?? []), megabytesPerSecond]);
          log(`${readers} readers, ${server}: ${Math.round(megabytesPerSecond)} MB/s`);
        }
      }
      peaks.set(readers, await peakMemoryBytes(ours.pid));
    }
    const median = (key: string) => samples.get(key)!.sort((a, b) => a - b)[Math.floor(samples.get(key)!.length / 2)]!;
    const ratio = (readers: number) => Math.round((median(`ours${readers}`) / median(`nginx${readers}`)) * 100) / 100;
    return {
      figures: Object.fromEntries([
        ...READERS.flatMap((readers) => [
          [`oursReaders${readers}MBps`, Math.round(median(`ours${readers}`))],
          [`nginxReaders${readers}MBps`, Math.round(median(`nginx${readers}`))],
          [`memoryPeakReaders${readers}MiB`, Math.round(peaks.get(readers)! / 2 ** 20)],
        ]),
        ["memoryStartMiB", Math.round(ours.startBytes / 2 ** 20)],
      ]),
      ratios: {
        nginx: Math.min(...READERS.map(ratio)),
        ...Object.fromEntries(READERS.map((readers) => [`nginxReaders${readers}`, ratio(readers)])),
      },
      notes: [
        "ratios.nginx is the smallest; loopback, so the reader's own copying is in every figure",
        "memoryPeak is the high-water mark of the whole process (VmHWM) so far, hashing of the 200 MB file at start included",
      ],
    };
  } finally {
    for (const child of children.reverse()) await stopChild(child, 2_000);
    process.off("exit", killAll);
    await rm(folder, { recursive: true, force: true });
  }
}

async function startOurs(
  folder: string,
  children: ChildProcess[],
): Promise<{ port: number; pid: number; startBytes: number }> {
  const child = fork(SELF, ["serve", folder]);
  children.push(child);
  const [{ port }] = (await deadline(once(child, "message"), 30_000, "start our server")) as [{ port: number }];
  return { port, pid: child.pid!, startBytes: await peakMemoryBytes(child.pid!) };
}

async function startNginx(folder: string, children: ChildProcess[]): Promise<{ port: number }> {
  const port = await freePort();
  await mkdir(join(folder, "nginx"));
  const config = `daemon off; worker_processes 1; pid ${folder}/nginx/pid; error_log ${folder}/nginx/error.log; user root;
events { worker_connections 1024; }
http { access_log off; sendfile on; tcp_nopush on; client_body_temp_path ${folder}/nginx/body; proxy_temp_path ${folder}/nginx/proxy;
 fastcgi_temp_path ${folder}/nginx/fastcgi; uwsgi_temp_path ${folder}/nginx/uwsgi; scgi_temp_path ${folder}/nginx/scgi;
 server { listen 127.0.0.1:${port}; root ${folder}; } }`;
  await writeFile(join(folder, "nginx.conf"), config);
  const child = spawn("nginx", ["-c", join(folder, "nginx.conf"), "-p", folder], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  children.push(child);
  const answers = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(socket.destroy() !== undefined));
      socket.on("error", () => resolve(false));
    });
  await until(answers, { what: "nginx answers (apt-get install nginx)", timeoutMs: 10_000 });
  return { port };
}

async function peakMemoryBytes(pid: number): Promise<number> {
  return Number(/VmHWM:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, "utf8"))![1]) * 1024;
}

async function serve(folder: string): Promise<void> {
  const images = openImages({
    directory: join(folder, "images"),
    publicKeyFile: join(folder, "image.pub"),
    log: silentLog(),
  });
  await images.scan();
  const plane = { bootAt: () => undefined, isSeen: () => true } as unknown as Parameters<
    typeof bootHttpServer
  >[0]["plane"];
  const inventory = {} as Parameters<typeof bootHttpServer>[0]["inventory"];
  const server = await bootHttpServer({
    address: "127.0.0.1",
    port: 0,
    plane,
    inventory,
    images,
    bootFiles: new Map(),
    log: silentLog(),
  });
  process.send!({ port: server.address.port });
}

interface Order {
  port: number;
  path: string;
  readers: number;
  repeat: number;
}

/** Reads with raw sockets into one reused buffer: the reader costs as little as it can. */
function readAll({ port, path }: Order): Promise<number> {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    let headerBytes = -1;
    let head = Buffer.alloc(0);
    const buffer = Buffer.allocUnsafe(1 << 20);
    const socket = connect({
      port,
      host: "127.0.0.1",
      onread: {
        buffer,
        callback: (length) => {
          bytes += length;
          if (headerBytes < 0) {
            head = Buffer.concat([head, buffer.subarray(0, length)]);
            const end = head.indexOf("\r\n\r\n");
            if (end < 0) return true;
            headerBytes = end + 4;
          }
          return true;
        },
      },
    });
    socket.on("connect", () => socket.write(`GET ${path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n`));
    socket.on("error", reject);
    socket.on("close", () => resolve(bytes - headerBytes));
  });
}

async function load(): Promise<void> {
  process.on("message", async (order: Order) => {
    const startedAt = performance.now();
    let bytes = 0;
    for (let n = 0; n < order.repeat; n++) {
      const read = await Promise.all(Array.from({ length: order.readers }, () => readAll(order)));
      bytes += read.reduce((sum, one) => sum + one, 0);
    }
    process.send!({ ms: performance.now() - startedAt, bytes });
  });
  process.send!("ready");
}

if (process.argv[2] === "serve") await serve(process.argv[3]!);
else if (process.argv[2] === "load") await load();
else if (import.meta.main) {
  runProgram(async (signal) => {
    const result = await run({ quick: process.argv.includes("--quick"), log: (line) => console.error(line), signal });
    console.log(JSON.stringify(result, undefined, 2));
    return 0;
  });
}

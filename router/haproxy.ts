// HAProxy as a process: master-worker, in a session of its own so that it outlives this program, found again by a record
// of pid and start time. It is asked and told over its sockets; reloaded through the master, which hands over listeners.
import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { mkdir, open, stat, truncate } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { Fault } from "#api/fault.ts";
import { exec } from "#lib/exec.ts";
import { readJson, readText, writeFileAtomic, writeFileInPlace } from "#lib/files.ts";
import { isFullDisk } from "#lib/full-disk.ts";
import { portTaken } from "#lib/port-holder.ts";
import { isAlive, type ProcessId, processId, signalProcess } from "#lib/process-id.ts";
import { sleep, until } from "#lib/time.ts";
import { type CertificateStore, certificateStore } from "./certificate-store.ts";
import { CERTIFICATE_LIST } from "./certificates.ts";
import { ensureDefaultCertificate } from "./default-certificate.ts";
import { HOP_SCRIPT, hopScript } from "./hop-script.ts";
import { noMaps } from "./maps.ts";
import { readBack } from "./read-back.ts";
import { OLD_WORKERS_MOST } from "./reload.ts";
import type { Rendered } from "./render.ts";
import { DEFAULT_CERTIFICATE } from "./render-options.ts";
import { ask, runCommands } from "./runtime.ts";
import { isLarge, type Scope } from "./scope.ts";
import { type Processes, parseProcesses, parseSessions, type Running } from "./verify.ts";

const STDERR_KEPT_BYTES = 1 << 20;
const LAST_ANSWERS_MS = 1_000;
const SOCKET_PATH_BYTES = 100; // sun_path is 108, HAProxy binds beside and renames

export interface HaproxyOptions {
  binary: string;
  directory: string;
  bind: string;
  httpPort: number;
  /** Absent: no HTTPS. */
  httpsPort?: number;
  accessLog: boolean;
}

export interface Haproxy {
  /** Takes over the HAProxy that an earlier run of this program left; false when there is none. */
  adopt(): Promise<boolean>;
  /** Starts it from the files on disk and waits until it serves. */
  start(shape: string): Promise<void>;
  certificates: CertificateStore;
  /** Checks the files on disk, then replaces the worker; resolves when the new one serves. */
  reload(shape: string): Promise<void>;
  isRunning(): Promise<boolean>;
  /** Shape the running worker was loaded with. */
  loadedShape(): string | undefined;
  write(files: Rendered): Promise<void>;
  running(): Promise<Running>;
  /** `before`, with what is in the scope read anew; `before` itself is of no use afterwards. */
  readAgain(before: Running, scope: Scope): Promise<Running>;
  run(commands: readonly string[][]): Promise<void>;
  /**
   * Runs what `plan` answers on each older worker that still has connections; as far as it lives to do it. `plan` is given what is in
   * the scope as that worker has it, or everything without one.
   */
  runOnOld(plan: (running: Running) => Promise<string[][]>, scope?: Scope): Promise<void>;
  /** Requests on each slot of those backends, all workers together. */
  sessions(backends: readonly string[]): Promise<Map<string, number>>;
  /** Whether nobody listens on that port here, HAProxy included. */
  isFree(port: number): Promise<boolean>;
  processes(): Promise<Processes>;
  /** Lets requests end for up to `graceMs`, then ends it. */
  stop(graceMs: number): Promise<void>;
  accessPipe: string;
}

interface Loaded {
  master: ProcessId;
  workers: ProcessId[];
  shape: string;
}

export async function createHaproxy(options: HaproxyOptions): Promise<Haproxy> {
  const { binary, directory, bind, httpPort, httpsPort, accessLog } = options;
  const path = (name: string) => join(directory, name);
  const masterSocket = path("master.sock");
  const workerSocket = path("worker.sock");
  const accessPipe = path("access.pipe");
  const stderrFile = path("haproxy.stderr");
  if (!/^\/[A-Za-z0-9._/-]+$/.test(directory) || workerSocket.length > SOCKET_PATH_BYTES)
    throw new Fault("invalid", `state directory ${directory}: must be absolute, plain and under 88 characters`);
  await mkdir(directory, { recursive: true, mode: 0o755 });
  if (!(await stat(accessPipe).catch(() => undefined))?.isFIFO()) await exec(["mkfifo", "-m", "600", accessPipe]);

  if (httpsPort !== undefined) await ensureDefaultCertificate(path(DEFAULT_CERTIFICATE));
  const certificates = certificateStore(directory, workerSocket);
  const back = readBack(directory, httpsPort !== undefined);

  let loaded: Loaded | undefined;
  const written = new Map<string, string>();

  const processes = async () => parseProcesses(await ask(masterSocket, "show proc", 2_000));
  const remember = async (shape: string) => {
    const { master, worker, old } = await processes();
    const ids = await Promise.all([master, worker ?? 0, ...old].map((pid) => processId(pid)));
    if (!ids[0]) throw new Error("HAProxy's master is gone");
    loaded = { master: ids[0], workers: ids.slice(1).filter((id) => id !== undefined), shape };
    const text = JSON.stringify(loaded);
    if ((await readText(path("haproxy.json"))) !== text) await writeFileInPlace(path("haproxy.json"), text);
  };
  const isRunning = async () => loaded !== undefined && (await isAlive(loaded.master));
  const kill = async (ids: readonly ProcessId[]) => {
    for (const id of ids) await signalProcess(id, "SIGKILL");
    for (const id of ids)
      await until(async () => !(await isAlive(id)), { what: `end of ${id.pid}`, timeoutMs: 5_000, everyMs: 10 });
  };
  /** Those beyond the number; a worker that only has to answer what is under way is given a moment for it. */
  const endTooOld = async () => {
    const tooMany = async () => (await processes()).old.slice(OLD_WORKERS_MOST);
    const isFew = async () => (await tooMany()).length === 0;
    await until(isFew, { what: "end of an older worker", timeoutMs: LAST_ANSWERS_MS, everyMs: 20 }).catch(async () => {
      const pids = new Set(await tooMany());
      for (const id of loaded?.workers ?? []) if (pids.has(id.pid)) await signalProcess(id, "SIGTERM");
    });
  };
  const isServing = async (worker: number | undefined) =>
    worker !== undefined && /^Pid: (\d+)$/m.exec(await ask(workerSocket, "show info", 1_000))?.[1] === String(worker);

  return {
    accessPipe,
    certificates,
    isFree: (port) => isFree(bind, port),
    processes,
    isRunning,
    loadedShape: () => loaded?.shape,

    async adopt() {
      const record = await readJson<Loaded>(path("haproxy.json"));
      if (!record) return false;
      loaded = record;
      if (!(await isRunning())) return false;
      try {
        await until(async () => (await processes()).master === record.master.pid, {
          what: "answer of HAProxy's master",
          timeoutMs: 3_000,
        });
        await until(async () => isServing((await processes()).worker), {
          what: "answer of HAProxy's worker",
          timeoutMs: 3_000,
        });
        await remember(record.shape).catch((error: unknown) => {
          if (!isFullDisk(error)) throw error; // the record that it was found by still names it
        });
        return true;
      } catch {
        await kill([record.master, ...record.workers]); // alive but deaf: a fresh one serves better
        return false;
      }
    },

    async start(shape) {
      if (loaded) await kill([loaded.master, ...loaded.workers]);
      for (const port of httpsPort === undefined ? [httpPort] : [httpPort, httpsPort])
        await until(() => isFree(bind, port), { what: "free port", timeoutMs: 500, everyMs: 50 }).catch(
          async (error: Error) => {
            if (error.cause instanceof Fault) throw error.cause;
            throw new Fault("conflict", `router: ${await portTaken("tcp", port)}`);
          },
        );
      // Read and write end at once and not blocking: HAProxy neither waits for a reader nor fails without one.
      const stdout = accessLog ? await open(accessPipe, constants.O_RDWR | constants.O_NONBLOCK) : undefined;
      const stderr = await open(
        stderrFile,
        constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_TRUNC,
      );
      try {
        const argv = ["-W", "-S", `${masterSocket},mode,600`, "-f", path("haproxy.cfg")];
        const child = spawn(binary, argv, { detached: true, stdio: ["ignore", stdout?.fd ?? "ignore", stderr.fd] });
        let ended = "";
        child.on("error", (error) => (ended = error.message));
        child.on("exit", (code, signal) => (ended = `ended with ${signal ?? code}`));
        child.unref();
        const master = child.pid;
        const answered = async () => {
          if (ended !== "" || master === undefined) return true;
          const now = await processes();
          return now.master === master && (await isServing(now.worker));
        };
        await until(answered, { what: "start of HAProxy", timeoutMs: 10_000, everyMs: 10 });
        if (ended !== "" || master === undefined)
          throw new Fault("unavailable", `start ${binary}: ${ended}: ${firstAlert(await readText(stderrFile))}`);
        await remember(shape);
      } finally {
        await stdout?.close();
        await stderr.close();
      }
    },

    async reload(shape) {
      await exec([binary, "-c", "-q", "-f", path("haproxy.cfg")], { timeoutMs: 30_000 });
      const before = (await processes()).worker;
      await ask(masterSocket, "reload", 2_000).catch(() => ""); // the master closes its socket as it starts over
      const replaced = async () => {
        const { worker } = await processes();
        return worker !== before && (await isServing(worker));
      };
      await until(replaced, { what: "start of the new worker", timeoutMs: 15_000, everyMs: 20 });
      await remember(shape);
      await endTooOld();
    },

    async write(files) {
      const texts = {
        ...files.maps,
        [CERTIFICATE_LIST]: files.certificateList,
        [HOP_SCRIPT]: hopScript,
        "haproxy.cfg": files.cfg,
      };
      for (const [name, text] of Object.entries(texts)) {
        if (written.get(name) === text) continue;
        // One that is there and says the same is left alone: HAProxy starts on a full disk as well.
        const isThere = !written.has(name) && (await readText(path(name))) === text;
        if (!isThere) await writeFileAtomic(path(name), text);
        written.set(name, text);
      }
      const { size } = await stat(stderrFile).catch(() => ({ size: 0 }));
      if (size > STDERR_KEPT_BYTES) await truncate(stderrFile);
    },

    running: () => back.all(workerSocket),

    readAgain: (before, scope) => (isLarge(scope) ? back.all(workerSocket) : back.within(scope, before, workerSocket)),

    run: (commands) => runCommands(workerSocket, commands),

    async runOnOld(plan, scope) {
      for (const pid of (await processes()).old) {
        const prefix = `@!${pid} `;
        const reading =
          scope === undefined || isLarge(scope)
            ? back.all(masterSocket, prefix)
            : back.within(scope, { slots: new Map(), maps: noMaps(), certificates: new Map() }, masterSocket, prefix);
        const running = await reading.catch(() => undefined); // it may end at any moment
        if (running === undefined) continue;
        const commands = await plan(running);
        await runCommands(masterSocket, commands, { prefix, isStrict: false }).catch(() => undefined);
      }
    },

    async sessions(backends) {
      const sum = new Map<string, number>();
      const add = (text: string) => {
        for (const [slot, count] of parseSessions(text)) sum.set(slot, (sum.get(slot) ?? 0) + count);
      };
      const { old } = await processes();
      for (const backend of backends) {
        add(await ask(workerSocket, `show stat ${backend} 4 -1`));
        for (const pid of old) {
          const text = await ask(masterSocket, `@!${pid} show stat ${backend} 4 -1`).catch(() => "");
          if (text.startsWith("# pxname")) add(text);
        }
      }
      return sum;
    },

    async stop(graceMs) {
      if (!loaded) return;
      const { master, workers } = loaded;
      const isGone = async () => !(await isAlive(master));
      for (const [signalName, waitMs] of [
        ["SIGUSR1", graceMs],
        ["SIGTERM", 1_000],
      ] as const) {
        await signalProcess(master, signalName);
        const deadlineMs = performance.now() + waitMs;
        while (!(await isGone()) && performance.now() < deadlineMs) await sleep(20);
      }
      await kill([master, ...workers]);
    },
  };
}

/** Whether nobody listens there: HAProxy itself would silently share the port with another one (SO_REUSEPORT). */
function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) =>
      error.code === "EADDRINUSE"
        ? resolve(false)
        : reject(new Fault("invalid", `router: listen on ${host} port ${port}`, { cause: error })),
    );
    server.listen({ host, port }, () => server.close(() => resolve(true)));
  });
}

function firstAlert(stderr = ""): string {
  const lines = stderr.trim().split("\n");
  return (lines.find((line) => line.startsWith("[ALERT]")) ?? lines.at(-1) ?? "").slice(0, 300);
}

// A long-lived process of the lab, in a process group of its own: output kept in a file, ended with the scope, and waits
// for what it prints. A process started in a pid namespace is known by its real pid, so that signals reach it.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { readText } from "#lib/files.ts";
import { until } from "#lib/time.ts";
import { signal, startTicks } from "./leftovers.ts";
import type { Scope } from "./scope.ts";

export interface SpawnOptions {
  name?: string;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Time between SIGTERM and SIGKILL at the end of the scope, in milliseconds. */
  graceMs?: number;
}

export interface Running {
  /** The program's own pid as seen from outside every namespace. */
  readonly pid: number;
  readonly outputFile: string;
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  isRunning(): boolean;
  output(): string;
  kill(name?: NodeJS.Signals): Promise<void>;
  /** Resolves with the match once the output has it; throws when the program ends or the time is over first. */
  waitFor(pattern: RegExp, timeoutMs: number): Promise<RegExpMatchArray>;
}

/** Starts argv. `wrapper` comes before it and forks into a pid namespace when `forks` (nsenter, unshare). */
export async function start(
  scope: Scope,
  argv: readonly string[],
  options: SpawnOptions = {},
  wrapper: { argv: readonly string[]; forks: boolean } = { argv: [], forks: false },
): Promise<Running> {
  const { name = basename(argv[0] ?? "process"), env = process.env, cwd, graceMs = 3_000 } = options;
  scope.signal.throwIfAborted();
  const outputFile = join(
    scope.folder,
    `${name}-${Date.now().toString(36)}${Math.random().toString(36).slice(2, 6)}.log`,
  );
  const [file = "", ...args] = [...wrapper.argv, ...argv];
  const fd = openSync(outputFile, "a");
  const child = spawn(file, args, { detached: true, cwd, env, stdio: ["ignore", fd, fd] });
  closeSync(fd);
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once("error", (cause) => reject(new Error(`start ${file}`, { cause })));
    child.once("exit", (code, killedBy) => resolve({ code, signal: killedBy }));
  });
  exited.catch(() => undefined); // told to whoever waits for it
  const output = () => readFileSync(outputFile, "utf8");
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (cause) => reject(new Error(`start ${file}`, { cause })));
  });
  const outer = child.pid!;
  scope.keep({ kind: "process", pid: outer, startTicks: (await startTicks(outer)) ?? "" });
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  const pid = wrapper.forks ? await forkedChild(outer, hasEnded, () => `${argv[0]} did not start: ${output()}`) : outer;
  const running: Running = {
    pid,
    outputFile,
    exited,
    isRunning: () => !hasEnded(),
    output,
    async kill(signalName = "SIGTERM") {
      if (hasEnded()) return;
      signal(pid, signalName);
      if (signalName === "SIGKILL") await exited;
    },
    async waitFor(pattern, timeoutMs) {
      const probe = () => output().match(once(pattern)) ?? (hasEnded() ? { ended: true as const } : undefined);
      const found = await until(probe, { what: `${pattern} from ${name}`, timeoutMs, signal: scope.signal });
      if ("ended" in found) throw new Error(`${name} ended before it printed ${pattern}: ${output().slice(-2_000)}`);
      return found;
    },
  };
  scope.defer(`stop ${name}`, () => end(child, pid, exited, graceMs));
  return running;
}

/** A global or sticky pattern would start where it ended the last time. */
export function once(pattern: RegExp): RegExp {
  return new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ""));
}

async function end(child: ChildProcess, pid: number, exited: Promise<unknown>, graceMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  signal(pid, "SIGTERM");
  const timer = setTimeout(() => {
    signal(pid, "SIGKILL");
    signal(-child.pid!, "SIGKILL"); // a wrapper that was stopped with its child would never see its end
  }, graceMs);
  await exited;
  clearTimeout(timer);
}

async function forkedChild(pid: number, hasEnded: () => boolean, why: () => string): Promise<number> {
  const children = async () => {
    if (hasEnded()) return { ended: true as const };
    const text = (await readText(`/proc/${pid}/task/${pid}/children`).catch(() => undefined)) ?? "";
    const first = Number(text.trim().split(" ")[0]);
    return first > 0 ? { pid: first } : undefined;
  };
  const found = await until(children, { what: "the forked child", timeoutMs: 30_000, everyMs: 5 });
  if ("ended" in found) throw new Error(why());
  return found.pid;
}

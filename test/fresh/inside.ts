// Programs in the fresh root: mounts and processes of their own, which the kernel ends when this process does.
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { exec, stopChild } from "#lib/exec.ts";
import { rootEnvironment } from "./settings.ts";

const ENTER = fileURLToPath(new URL("enter.sh", import.meta.url));
/** The lab inside takes away what it made. */
export const GRACE_MS = 60_000;

/** Runs argv in the root to its end. SIGTERM first, so that a lab inside ends what it started; what is left dies with pid 1. */
export async function inRoot(root: string, argv: readonly string[], signal: AbortSignal): Promise<number> {
  const namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=SIGKILL"];
  const wrapped = [...namespaces, "--", "sh", ENTER, root, ...argv];
  const { FLYNN_LAB_RUN } = process.env;
  const env = { ...rootEnvironment(process.env), ...(FLYNN_LAB_RUN === undefined ? {} : { FLYNN_LAB_RUN }) };
  const bound = ["--pdeathsig", "KILL", "--", "unshare", ...wrapped];
  const child = spawn("setpriv", bound, { env, stdio: ["ignore", "inherit", "inherit"], detached: true });
  const ended = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  // Not to unshare itself, whose end is the end of all inside at once: that comes when the time is over.
  const stop = () => void stopInside(child.pid).then(() => stopChild(child, GRACE_MS, "SIGCONT"));
  signal.addEventListener("abort", stop, { once: true });
  const [code] = await ended;
  signal.removeEventListener("abort", stop);
  return code ?? 1;
}

/** SIGTERM to the namespace's first process, which hands it on. */
async function stopInside(pid: number | undefined): Promise<void> {
  const { stdout } = await exec(["ps", "--ppid", String(pid), "-o", "pid="]).catch(() => ({ stdout: "" }));
  for (const each of stdout.trim().split(/\s+/).filter(Boolean)) process.kill(Number(each), "SIGTERM");
}

// A command on a terminal of its own (script(1)): what is typed is typed when the terminal shows what it waits for.
import { spawn } from "node:child_process";

export interface OnTerminal {
  argv: readonly string[];
  env: NodeJS.ProcessEnv;
  cwd: string;
  /** Typed in turn, each once this has been shown since the last. */
  typed: readonly { after: string; keys: string }[];
  timeoutMs?: number;
}

/** All that the terminal showed, and how the command ended. */
export function onTerminal({
  argv,
  env,
  cwd,
  typed,
  timeoutMs = 60_000,
}: OnTerminal): Promise<{ code: number; shown: string }> {
  return new Promise((resolve, reject) => {
    const line = argv.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
    const child = spawn("script", ["-qefc", line, "/dev/null"], { env: { SHELL: "/bin/sh", ...env }, cwd });
    let shown = "";
    let seen = 0;
    const left = [...typed];
    const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    child.on("error", reject);
    child.stdin.on("error", () => undefined); // it ended before all was typed: its code and what it showed say so
    child.stdout.on("data", (chunk: Buffer) => {
      shown += chunk;
      while (left[0] !== undefined && shown.includes(left[0].after, seen)) {
        seen = shown.indexOf(left[0].after, seen) + left[0].after.length;
        child.stdin.write(left.shift()!.keys);
      }
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      if (code === null) reject(new Error(`it did not end; shown: ${shown}`));
      else resolve({ code, shown });
    });
  });
}

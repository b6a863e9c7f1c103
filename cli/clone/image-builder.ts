// images/main.ts as a child process: its steps are shown as they come, its one JSON value is the answer.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { Fault } from "#api/fault.ts";
import { stopChild } from "#lib/exec.ts";
import { progress } from "../output/progress.ts";
import type { Cli } from "../parse/command.ts";
import { treeFile } from "./tree.ts";

const CHILD_GRACE_MS = 10_000;

export async function runImageBuilder<T>(argv: readonly string[], cli: Cli): Promise<T> {
  const { signal } = cli;
  const shown = progress(cli);
  const child = spawn(process.execPath, [treeFile("images/main.ts"), ...argv], {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  // Each step says when it began; on a terminal the one that runs is drawn below, with how long it has taken.
  createInterface({ input: child.stderr }).on("line", (line) => {
    shown.line(line);
    shown.doing(stepOf(line));
  });
  const stop = () => void stopChild(child, CHILD_GRACE_MS);
  signal.addEventListener("abort", stop, { once: true });
  try {
    const ended = new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    const [printed, code] = await Promise.all([text(child.stdout), ended]);
    signal.throwIfAborted();
    if (code !== 0)
      throw new Fault(
        "internal",
        `the image was not built (the builder ended with ${code ?? "a signal"}; it says why above)`,
      );
    return JSON.parse(printed) as T;
  } finally {
    shown.end();
    signal.removeEventListener("abort", stop);
  }
}

/** `  12.3s  packing the layers` -> `packing the layers`. */
const stepOf = (line: string): string => line.replace(/^\s*[\d.]+(?:ms|s|m\d+s|h\d+m)\s+/, "");

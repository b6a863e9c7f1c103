// images/main.ts as a child process: what it says goes to stderr as it comes, its one JSON value is the answer.
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { Fault } from "#api/fault.ts";
import { stopChild } from "#lib/exec.ts";
import { treeFile } from "./tree.ts";

const CHILD_GRACE_MS = 10_000;

export async function runImageBuilder<T>(argv: readonly string[], signal: AbortSignal): Promise<T> {
  const program = treeFile("images/main.ts");
  const stdio: ["ignore", "pipe", "inherit"] = ["ignore", "pipe", "inherit"];
  const child = spawn(process.execPath, [program, ...argv], { stdio, detached: true });
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
    signal.removeEventListener("abort", stop);
  }
}

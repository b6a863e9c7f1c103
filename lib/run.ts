// The one place that turns signals into an AbortSignal and ends the process. SIGTERM and SIGINT abort once; a second
// signal, or a main that has not ended `graceMs` after the first, ends the process at once.
import process from "node:process";

export interface RunOptions {
  /** Longest time main may take to end after the first signal, in milliseconds. */
  graceMs?: number;
  /** Told the error that ended main; default writes its cause chain to stderr. */
  onError?: (error: unknown) => number;
}

/** Runs a program to its end and exits: 0, the code main returns, 130 after SIGINT, 1 on an error. */
export function run(
  main: (signal: AbortSignal) => Promise<number | undefined> | Promise<void>,
  options: RunOptions = {},
): void {
  const { graceMs = 15_000, onError = printError } = options;
  const controller = new AbortController();
  let interrupted = false;
  const stop = (name: NodeJS.Signals) => {
    if (controller.signal.aborted) process.exit(name === "SIGINT" ? 130 : 143);
    interrupted = name === "SIGINT";
    setTimeout(() => process.exit(1), graceMs).unref();
    controller.abort(new Error(`stopped by ${name}`));
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  process.on("SIGHUP", stop);
  main(controller.signal).then(
    (code) => process.exit(typeof code === "number" ? code : interrupted ? 130 : 0),
    (error) => process.exit(controller.signal.aborted ? (interrupted ? 130 : 0) : onError(error)),
  );
}

/** One line per link of the cause chain: what was being done, then why it failed. */
export function causeChain(error: unknown): string[] {
  const lines: string[] = [];
  for (let at: unknown = error; at !== undefined && at !== null && lines.length < 8; at = (at as Error).cause) {
    lines.push(at instanceof Error ? at.message : String(at));
  }
  return lines;
}

function printError(error: unknown): number {
  process.stderr.write(`error: ${causeChain(error).join(": ")}\n`);
  return 1;
}

// The `flynn` command: parse, run, print the error once, exit with its code.
import process from "node:process";
import { FAULTS, Fault, isFault } from "#api/fault.ts";
import { causeChain, run } from "#lib/run.ts";
import type { Cli, Invocation } from "./command.ts";
import { commands } from "./commands.ts";
import { helpText } from "./help.ts";
import { parse } from "./parse.ts";

async function main(signal: AbortSignal): Promise<number> {
  const parsed = parse(process.argv.slice(2), commands);
  const cli: Cli = {
    env: process.env,
    signal,
    json: parsed.type === "run" && parsed.flags["json"] === true,
    terminal: {
      out: process.stdout.isTTY === true,
      err: process.stderr.isTTY === true,
      columns: process.stderr.columns || 0,
    },
    commands,
    print: (line) => void process.stdout.write(`${line}\n`),
    say: (line) => void process.stderr.write(`${line}\n`),
    write: (text) => void process.stdout.write(text),
  };
  if (parsed.type === "help") {
    cli.print(helpText(parsed.words, parsed.commands));
    return 0;
  }
  const { command, args, tail, flags } = parsed;
  const call: Invocation = {
    args,
    tail,
    cli,
    on: (name) => flags[name] === true,
    text: (name) => (typeof flags[name] === "string" ? flags[name] : undefined),
    texts: (name) => [flags[name] ?? []].flat().map(String),
  };
  return (await command.run(call)) ?? 0;
}

/** What went wrong, why, and (in the message itself) what to do next. */
function report(error: unknown): number {
  const fault = isFault(error)
    ? error
    : new Fault("internal", error instanceof Error ? error.message : String(error), {
        cause: error instanceof Error ? error.cause : undefined,
      });
  const [first, ...causes] = causeChain(fault);
  process.stderr.write(`error: ${[first, ...causes].join(": ")}\n`);
  return FAULTS[fault.code].exit;
}

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0); // the reader has what it wanted: `flynn log | head`
});
run(main, { onError: report });

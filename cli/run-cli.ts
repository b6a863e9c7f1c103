// One invocation: parse, run, print the error once, give the exit code. Everything it touches comes in.
import { FAULTS, Fault, isFault } from "#api/fault.ts";
import { shownJson } from "#lib/output-text.ts";
import { causeChain } from "#lib/run.ts";
import { needsClone } from "./clone/tree.ts";
import { onTerminal, plain } from "./output/text.ts";
import type { Cli, Command, Invocation, SessionStreams, Terminal } from "./parse/command.ts";
import { helpText } from "./parse/help.ts";
import { type Parsed, parse } from "./parse/parse.ts";

export interface Surroundings {
  commands: readonly Command[];
  env: NodeJS.ProcessEnv;
  cwd: string;
  signal: AbortSignal;
  terminal: Terminal;
  writeOut(text: string): void;
  writeErr(text: string): void;
  ask(question: string): Promise<string>;
  askSecret(question: string): Promise<string>;
  readStdin(): Promise<string>;
  streams: SessionStreams;
  /** The CLI alone, without the tree (`cli/clone/tree.ts`). */
  packed: boolean;
}

const USAGE_EXIT = FAULTS.invalid.exit;

/** The exit code: 0, what the command returns, or the one of its Fault. After an interrupt it throws, so that run() says 130. */
export async function runCli(argv: readonly string[], around: Surroundings): Promise<number> {
  // Of words that were not understood, only that they ask for JSON is.
  let json = argv.includes("--json");
  try {
    const parsed = parse(argv, around.commands);
    if (parsed.type === "run") json = parsed.flags.has("json");
    if (parsed.type === "help") {
      const text = `${helpText(parsed.words, parsed.commands)}\n`;
      if (parsed.asked) around.writeOut(text);
      else around.writeErr(text);
      return parsed.asked ? 0 : USAGE_EXIT;
    }
    if (around.packed && parsed.command.needsClone) throw needsClone(`flynn ${parsed.command.words}`);
    return (await parsed.command.run(invocation(parsed, around))) ?? 0;
  } catch (error) {
    if (around.signal.aborted) throw error;
    return report(error, around, json);
  }
}

function invocation({ args, tail, flags }: Extract<Parsed, { type: "run" }>, around: Surroundings): Invocation {
  const { env, cwd, signal, terminal, commands } = around;
  const colours = !env["NO_COLOR"] && !flags.has("no-color") && env["TERM"] !== "dumb";
  const colour = { out: colours && terminal.out, err: colours && terminal.err };
  const shown = (line: string) => (flags.has("json") ? shownJson(line) : onTerminal(line, colour.out));
  const cli: Cli = {
    env,
    cwd,
    signal,
    json: flags.has("json"),
    terminal,
    colour,
    commands,
    print: (line) => around.writeOut(`${terminal.out ? shown(line) : line}\n`),
    say: (line) => around.writeErr(`${terminal.err ? onTerminal(line, colour.err) : line}\n`),
    draw: (text) => around.writeErr(text),
    ask: (question) => around.ask(terminal.err ? onTerminal(question, colour.err) : question),
    askSecret: (question) => around.askSecret(terminal.err ? onTerminal(question, colour.err) : question),
    readStdin: around.readStdin,
    streams: around.streams,
  };
  return {
    args,
    tail,
    cli,
    on: (name) => flags.has(name),
    text: (name) => flags.get(name)?.[0],
    texts: (name) => [...(flags.get(name) ?? [])],
  };
}

/** What failed, why, and (in the message itself) what to do next. */
function report(error: unknown, { terminal, writeErr }: Surroundings, json: boolean): number {
  const fault = isFault(error)
    ? error
    : new Fault("internal", error instanceof Error ? error.message : String(error), {
        cause: error instanceof Error ? error.cause : undefined,
      });
  const { exit } = FAULTS[fault.code];
  if (json) {
    const message = [...new Set(causeChain(fault))].join(": ");
    const { code, retry, details } = fault;
    const line = JSON.stringify({ code, message, exit, retry, ...(details ? { details } : {}) });
    writeErr(`${terminal.err ? shownJson(line) : line}\n`);
    return exit;
  }
  const request = fault.code === "internal" && fault.details?.["requestId"];
  const text = [...new Set(causeChain(fault))].join(": ") + (request ? ` (request ${request})` : "");
  writeErr(`error: ${terminal.err ? plain(text, { lines: true }) : text}\n`);
  return exit;
}

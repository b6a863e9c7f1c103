// Runs one invocation of the CLI in this process and gives what it printed.
import { tmpdir } from "node:os";
import { Readable, Writable } from "node:stream";
import { commands } from "../../cli/commands.ts";
import type { Command, Terminal } from "../../cli/parse/command.ts";
import { runCli } from "../../cli/run-cli.ts";

export interface Invoked {
  code: number;
  out: string;
  err: string;
}

export interface InvokeOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  terminal?: Partial<Terminal>;
  /** What is typed when it asks. Absent: asking fails the test. */
  typed?: string;
  stdin?: string;
  signal?: AbortSignal;
  commands?: readonly Command[];
  packed?: boolean;
  onOut?: (text: string) => void;
  onErr?: (text: string) => void;
}

export async function invoke(argv: readonly string[], options: InvokeOptions = {}): Promise<Invoked> {
  const printed = { out: "", err: "" };
  const typed = async (question: string): Promise<string> => {
    if (options.typed === undefined) throw new Error(`asked: ${question}`);
    return options.typed;
  };
  const code = await runCli(argv, {
    commands: options.commands ?? commands,
    packed: options.packed ?? false,
    env: { PATH: process.env["PATH"], ...options.env },
    cwd: options.cwd ?? tmpdir(),
    signal: options.signal ?? new AbortController().signal,
    terminal: { in: false, out: false, err: false, columns: 0, errColumns: 0, ...options.terminal },
    writeOut: (text) => {
      printed.out += text;
      options.onOut?.(text);
    },
    writeErr: (text) => {
      printed.err += text;
      options.onErr?.(text);
    },
    ask: typed,
    askSecret: typed,
    readStdin: async () => options.stdin ?? "",
    streams: {
      input: Readable.from(options.stdin === undefined ? [] : [Buffer.from(options.stdin)]),
      output: sink((text) => (printed.out += text)),
      error: sink((text) => (printed.err += text)),
      setRaw: () => undefined,
      size: () => undefined,
      onResize: () => () => undefined,
    },
  });
  return { code, ...printed };
}

const sink = (take: (text: string) => void): Writable =>
  new Writable({
    write(chunk, _encoding, done) {
      take(String(chunk));
      done();
    },
  });

// Asks on the terminal for one line. A secret one is not shown: the terminal is in raw mode and nothing that is typed is written. Ctrl-C
// is this program's SIGINT, as when nothing is asked; whatever happens, the terminal is as before when this returns.
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { Fault } from "#api/fault.ts";

export interface AskOptions {
  input: NodeJS.ReadableStream;
  output: NodeJS.WritableStream;
  signal: AbortSignal;
  /** Ctrl-C was typed. */
  interrupt: () => void;
  secret: boolean;
}

export async function ask(question: string, { input, output, signal, interrupt, secret }: AskOptions): Promise<string> {
  const lines = createInterface(
    secret ? { input, output: nowhere(), terminal: true, historySize: 0 } : { input, output },
  );
  lines.on("SIGINT", interrupt);
  try {
    // Shown only now: what is typed as an answer to it is not shown.
    if (secret) output.write(question);
    const closed = new Promise<never>((_, reject) => {
      lines.on("close", () => reject(new Fault("invalid", "the question was not answered")));
    });
    return await Promise.race([lines.question(secret ? "" : question, { signal }), closed]);
  } finally {
    lines.close();
    if (secret) output.write("\n");
  }
}

const nowhere = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() });

// HAProxy's runtime sockets: one line of commands per connection, a deadline on each, replies matched to commands.
import { connect } from "node:net";
import { isDone, splitReplies } from "./verify.ts";

const LINE_BYTES = 8_000; // HAProxy reads a line into one 16 KiB buffer

/** Sends one line and resolves with all that HAProxy answers until it closes. */
export function ask(socketPath: string, line: string, timeoutMs = 5_000): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(socketPath);
    const fail = (cause: unknown) => {
      socket.destroy();
      reject(new Error(`ask HAProxy ${JSON.stringify(line.slice(0, 80))}`, { cause }));
    };
    const timer = setTimeout(() => fail(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    socket.on("connect", () => socket.end(`${line}\n`));
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("error", fail);
    socket.on("close", () => {
      clearTimeout(timer);
      resolve(Buffer.concat(chunks).toString("latin1"));
    });
  });
}

export interface CommandOptions {
  /** `@!1234 ` on the master's socket: the worker every command goes to. */
  prefix?: string;
  /** False where a command may name what that process does not have. */
  isStrict?: boolean;
}

/** Asks many things in few connections; one reply each. */
export async function askAll(socketPath: string, commands: readonly string[], prefix = ""): Promise<string[]> {
  const replies: string[] = [];
  const groups = commands.map((command) => [command]);
  for (const some of batches(groups, prefix.length)) {
    const text = await ask(socketPath, some.map((command) => prefix + command).join("; "));
    replies.push(...splitReplies(text, some.length));
  }
  return replies;
}

/** Runs groups of commands in order; a group is never split. Throws at the first that did not do what it should. */
export async function runCommands(
  socketPath: string,
  groups: readonly string[][],
  { prefix = "", isStrict = true }: CommandOptions = {},
): Promise<void> {
  for (const commands of batches(groups, prefix.length)) {
    const text = await ask(socketPath, commands.map((command) => prefix + command).join("; "));
    if (!isStrict) continue;
    for (const [n, reply] of splitReplies(text, commands.length).entries())
      if (!isDone(commands[n]!, reply)) throw new Error(`HAProxy refused "${commands[n]}": ${reply.slice(0, 200)}`);
  }
}

function batches(groups: readonly string[][], prefixLength: number): string[][] {
  const lines: string[][] = [];
  let sizeBytes = LINE_BYTES;
  for (const group of groups) {
    const groupBytes = group.reduce((sum, command) => sum + command.length + prefixLength + 2, 0);
    if (sizeBytes + groupBytes > LINE_BYTES) {
      lines.push([]);
      sizeBytes = 0;
    }
    lines.at(-1)!.push(...group);
    sizeBytes += groupBytes;
  }
  return lines;
}

// Variables to set, from where the user has them: words, a file, stdin. What is wrong is told without the value.
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { Fault } from "#api/fault.ts";
import type { Cli } from "../parse/command.ts";
import { parseDotenv } from "./dotenv.ts";
import { envName } from "./name.ts";

const FILE_MOST_BYTES = 1 << 20;

/** `first`: which word of the line the first of these is. */
export function envChanges(words: readonly string[], first = 1): Record<string, string> {
  const changes = new Map<string, string>();
  for (const [at, word] of words.entries()) {
    const equals = word.indexOf("=");
    // Not repeated: without a name it may be the value that was meant to be kept.
    if (equals < 1)
      throw new Fault(
        "invalid",
        `word ${at + first} has no NAME= before its value: write NAME=VALUE, such as GREETING=hi; or NAME=- to give the value on stdin`,
      );
    changes.set(envName(word.slice(0, equals)), word.slice(equals + 1));
  }
  return Object.fromEntries(changes);
}

/** Of `env set`: files first, then words; `-` reads lines from stdin, `NAME=-` one value. */
export async function givenVariables(
  cli: Pick<Cli, "cwd" | "readStdin">,
  words: readonly string[],
  files: readonly string[],
): Promise<Record<string, string>> {
  const fromStdin = words.filter((word) => word === "-" || word.endsWith("=-"));
  if (fromStdin.length > 1)
    throw new Fault("invalid", "stdin can be read once: give either - (lines of NAME=VALUE) or one NAME=-");
  const all: Record<string, string>[] = [];
  for (const file of files) all.push(await fileVariables(resolve(cli.cwd, file)));
  for (const [at, word] of words.entries()) {
    if (word === "-") all.push(told("stdin", await cli.readStdin()));
    else if (word.endsWith("=-") && word.indexOf("=") === word.length - 2)
      all.push({ [envName(word.slice(0, -2))]: (await cli.readStdin()).replace(/\r?\n$/, "") });
    else all.push(envChanges([word], at + 1));
  }
  return Object.assign({}, ...all) as Record<string, string>;
}

async function fileVariables(path: string): Promise<Record<string, string>> {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new Fault("invalid", `read ${path}`, { cause });
  });
  return told(path, text);
}

function told(where: string, text: string): Record<string, string> {
  if (Buffer.byteLength(text) > FILE_MOST_BYTES) throw new Fault("too-large", `${where} is larger than 1 MiB`);
  try {
    return parseDotenv(text);
  } catch (error) {
    throw error instanceof Fault ? new Fault(error.code, `${where}, ${error.message}`) : error;
  }
}

// `flynn git-credential get` without the rest of the CLI: git asks at every push and waits for the answer. Started by `cli/flynn`, and by
// the packed CLI before it loads anything else. What git offers to be kept (`store`) or forgotten (`erase`) is not read: tokens are kept
// and forgotten by `flynn cluster`.
import process from "node:process";
import { text } from "node:stream/consumers";
import { credential } from "./credential.ts";

try {
  const answer = process.argv[3] === "get" ? await credential(await text(process.stdin), process.env) : undefined;
  if (answer !== undefined) process.stdout.write(`${answer}\n`);
} catch (error) {
  process.stderr.write(`flynn: ${(error as Error).message}\n`);
  process.exitCode = 1;
}

// `flynn git-credential get` without the rest of the CLI: git asks at every push and waits for the answer. Started by `cli/flynn`.
import process from "node:process";
import { text } from "node:stream/consumers";
import { credential } from "./credential.ts";

try {
  const answer = await credential(await text(process.stdin), process.env);
  if (answer !== undefined) process.stdout.write(`${answer}\n`);
} catch (error) {
  process.stderr.write(`flynn: ${(error as Error).message}\n`);
  process.exitCode = 1;
}

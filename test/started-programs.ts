// Loaded by the runner before a test file (`node --import`): a file that starts a program which no set of set-up brings has failed,
// however the program's name was put together. test/lib/programs.test.ts finds the same in the sources.
import { channel } from "node:diagnostics_channel";
import process from "node:process";
import { isKnownProgram } from "./known-programs.ts";
import { startedBy } from "./program-words.ts";

const unknown = new Set<string>();

channel("tracing:child_process.spawn:start").subscribe((message) => {
  const { spawnargs } = (message as { process: { spawnargs?: readonly string[] } }).process;
  for (const program of startedBy(spawnargs ?? [])) if (!isKnownProgram(program)) unknown.add(program);
});

process.once("exit", () => {
  if (unknown.size === 0) return;
  console.error(
    `started ${[...unknown].join(", ")}, which no Debian package of lib/setup/packages.mjs brings: add package and program there`,
  );
  process.exitCode = 1;
});

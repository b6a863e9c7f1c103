// The boot doctor's answer for people: one sentence, then what was found and what to do about each.
import type { Static } from "typebox";
import type { Explanation } from "#api/machines.ts";
import type { Cli } from "../parse/command.ts";
import { paint, plain } from "./text.ts";

export function printExplanation(cli: Cli, { summary, findings, facts = [] }: Static<typeof Explanation>): void {
  cli.print(plain(summary));
  for (const { level, what, evidence, todo } of findings) {
    const colour = level === "error" ? "red" : level === "warning" ? "yellow" : undefined;
    cli.print(`  ${paint(`${level}:`, colour, cli.colour.out)} ${plain(what)}`);
    if (evidence) cli.print(`    seen: ${plain(evidence)}`);
    if (todo) cli.print(`    do:   ${plain(todo)}`);
  }
  for (const fact of facts) cli.print(`  ${plain(fact)}`);
}

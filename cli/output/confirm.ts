// Before something is lost: say what, ask for its name on a terminal, take --confirm NAME from scripts, never hang.
import { Fault } from "#api/fault.ts";
import type { Flag, Invocation } from "../parse/command.ts";
import { paint } from "./text.ts";

export const CONFIRM: Flag = { name: "confirm", value: "NAME", help: "Its name again, instead of the question" };

/** `-y`, where the name in the command says already what is lost. */
export const YES: Flag = { name: "yes", short: "y", help: "Go on without the question" };
export const CONFIRM_FLAGS: readonly Flag[] = [CONFIRM, YES];

export async function confirm(call: Invocation, name: string, loses: string): Promise<void> {
  const { cli } = call;
  const given = call.text("confirm") ?? (call.on("yes") ? name : undefined);
  if (given === undefined) {
    cli.say(`${paint("WARNING:", "yellow", cli.colour.err)} ${loses}`);
    if (!cli.terminal.in)
      throw new Fault("invalid", `there is no terminal to ask on; to go on: --confirm ${name}. Nothing was done`);
  }
  const typed = given ?? (await cli.ask(`To proceed, type ${name} (or re-run with --confirm ${name}): `)).trim();
  if (typed !== name)
    throw new Fault("invalid", `confirmation ${typed || "(nothing)"} is not ${name}. Nothing was done`);
}

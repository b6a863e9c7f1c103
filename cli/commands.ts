// The command table: every command of every noun.
import type { Command } from "./command.ts";
import { upCommands } from "./commands/up.ts";

export const commands: readonly Command[] = [...upCommands];

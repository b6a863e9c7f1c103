// cluster backup and restore: the appliance's own state, on the appliance. Control does the work, in a process of its own.
import { spawn } from "node:child_process";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Fault } from "#api/fault.ts";
import { readText } from "#lib/files.ts";
import type { Command, Invocation } from "../command.ts";
import { configOf } from "../up/configure.ts";

const STATE = [
  { name: "state", value: "DIR", help: "State directory: /var/lib/flynn as root, ~/.flynn/state otherwise" },
  { name: "config", value: "FILE", help: "YAML file with the same settings as for `flynn up`" },
] as const;

export const stateCommands: readonly Command[] = [
  {
    words: "cluster backup",
    summary: "Write the appliance's state into one file; it may run meanwhile",
    more: [
      "Run it on the appliance. Two keys are not in the file: keep <state>/control/ca and <state>/control/sealing as well, apart",
      "from it. Nor are the apps' git repositories: copy <state>/control/git along with it.",
    ].join("\n"),
    args: [{ name: "FILE", required: true }],
    flags: STATE,
    run: (call) => control(call, ["backup", "--out", resolve(call.cli.cwd, call.args[0]!)]),
  },
  {
    words: "cluster restore",
    summary: "Make damaged state whole, from what verifies or from a backup; says what is lost",
    more: [
      "Run it on the appliance, while it is down. What was there is moved aside, never deleted. Git repositories of apps that",
      "the restored state does not know are set aside for a week (<state>/control/git/removed), and come back with their app.",
    ].join("\n"),
    args: [{ name: "FILE" }],
    flags: STATE,
    run: (call) => control(call, ["restore", ...(call.args[0] ? ["--from", resolve(call.cli.cwd, call.args[0])] : [])]),
  },
];

async function control(call: Invocation, args: readonly string[]): Promise<number> {
  const { stateDir } = configOf(call);
  const config = join(stateDir, "run", "control.json");
  if ((await readText(config)) === undefined) throw new Fault("not-found", `no appliance has its state in ${stateDir}`);
  const [verb, ...rest] = args;
  const main = fileURLToPath(new URL("../../control/main.ts", import.meta.url));
  const child = spawn(process.execPath, [main, verb!, "--config", config, ...rest], { stdio: "inherit", shell: false });
  return await new Promise((done, failed) => {
    child.once("error", failed);
    child.once("exit", (code) => done(code ?? 1));
  });
}

// cluster backup, restore and token: the appliance's own state, on the appliance. Control does the work, in a process of its own.
import { spawn } from "node:child_process";
import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { Fault } from "#api/fault.ts";
import { treeFile } from "../clone/tree.ts";
import { answer } from "../output/answer.ts";
import { CONFIRM, confirm } from "../output/confirm.ts";
import type { Command, Invocation } from "../parse/command.ts";
import { makeAdmin, saveAdmin } from "../up/admin-token.ts";
import { runningUp } from "../up/running.ts";

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
      "from it. Nor are the apps' git repositories and images: copy <state>/control/git and <state>/registry along with it.",
    ].join("\n"),
    args: [{ name: "FILE", required: true }],
    flags: STATE,
    needsClone: true,
    run: backup,
  },
  {
    words: "cluster restore",
    summary: "Make damaged state whole, from what verifies or from a backup; says what is lost",
    more: [
      "Run it on the appliance, while it is down. What was there is moved aside, never deleted: FILE may be such a directory too,",
      "which takes a restore back. State that FILE would undo is named first, and asked for. Elsewhere: put ca, sealing and git,",
      "which were kept with the backup, into DIR/control (registry into DIR), then",
      "  flynn cluster restore --state DIR FILE",
      "  flynn up --state DIR",
      "Git repositories of apps that the restored state does not know are set aside for a week (<state>/control/git/removed), and",
      "come back with their app.",
    ].join("\n"),
    args: [{ name: "FILE", offers: "files" }],
    flags: [...STATE, { ...CONFIRM, value: "DIR", help: "The state directory again, instead of the question" }],
    needsClone: true,
    run: restore,
  },
  {
    words: "cluster token",
    summary: "On the appliance: make a new admin token, and save it for this user's CLI",
    more: [
      "For a lost token, and after a restore whose state does not know it. Run it on the appliance while it runs, as the user of",
      "`flynn up`; nothing of it goes over the network. Tokens that are known stay good.",
    ].join("\n"),
    flags: STATE,
    run: token,
  },
];

async function token(call: Invocation): Promise<void> {
  const { cli } = call;
  const stateDir = await stateDirOf(call);
  if (!(await hasState(stateDir)) || (await runningUp(stateDir)) === undefined)
    throw new Fault(
      "not-found",
      `no appliance runs here with state ${stateDir}; start it: flynn up --state ${stateDir}`,
    );
  const admin = await makeAdmin({ stateDir, signal: cli.signal });
  const { cluster, file, git } = await saveAdmin(admin, { stateDir, env: cli.env });
  const { name, url, pin } = cluster;
  cli.say(git);
  answer(cli, { name, url, pin, token: admin.token }, () => {
    cli.print(`A new admin token is saved as cluster "${name}" in ${file}.`);
    cli.print(`From another machine: flynn cluster add -p ${pin} ${name} ${url} ${admin.token}`);
  });
}

async function backup(call: Invocation): Promise<number> {
  const stateDir = await stateDirOf(call);
  await refuseWithout(stateDir);
  const out = resolve(call.cli.cwd, call.args[0]!);
  return await control(call, ["backup", "--state", join(stateDir, "control"), "--out", out]);
}

async function restore(call: Invocation): Promise<number> {
  const { cli } = call;
  const stateDir = await stateDirOf(call);
  const running = (await hasState(stateDir)) ? await runningUp(stateDir) : undefined;
  if (running)
    throw new Fault(
      "conflict",
      `the appliance runs (pid ${running.pid}); end it first: flynn down --state ${stateDir}`,
    );
  const args = ["restore", "--state", join(stateDir, "control")];
  if (call.args[0] === undefined) {
    await refuseWithout(stateDir);
    return await control(call, args);
  }
  const file = resolve(cli.cwd, call.args[0]);
  let found = "";
  const code = await control(call, [...args, "--from", file, "--look"], (line) => {
    found += line;
  });
  if (code !== 0) return code;
  const { replaced } = JSON.parse(found) as { replaced?: Replaced };
  if (replaced) await confirm(call, stateDir, loss(stateDir, file, replaced));
  const restored = await control(call, [...args, "--from", file, ...(replaced ? ["--replace"] : [])]);
  if (restored === 0)
    cli.say(
      `next: flynn up --state ${stateDir}; and where its token is not known: flynn cluster token --state ${stateDir}`,
    );
  return restored;
}

interface Replaced {
  sound: boolean;
  from: Reach;
  to: Reach;
}
interface Reach {
  seq: number;
  entries: number;
  at?: string;
}

function loss(stateDir: string, file: string, { sound, from, to }: Replaced): string {
  const words = ({ entries, seq, at }: Reach) => `${entries} entries up to record ${seq}${at ? ` of ${at}` : ""}`;
  const there = sound ? "is not damaged" : "is damaged, and what verifies of it reaches further";
  return [
    `the state in ${stateDir} ${there} (${words(from)}). ${file} (${words(to)}) takes its place:`,
    "all that was changed since is undone. The state before is kept beside it, and can be restored again.",
  ].join("\n");
}

async function stateDirOf(call: Invocation): Promise<string> {
  const { configOf } = await import("../up/configure.ts");
  return resolve(call.cli.cwd, configOf(call).stateDir);
}

async function hasState(stateDir: string): Promise<boolean> {
  const store = join(stateDir, "control", "store");
  return await stat(store).then(
    () => true,
    (cause: NodeJS.ErrnoException) => {
      if (cause.code === "ENOENT") return false;
      if (cause.code !== "EACCES") throw new Fault("unavailable", `look at ${store}`, { cause });
      throw new Fault("forbidden", `${stateDir} is another user's: run this as the one that runs \`flynn up\``, {
        cause,
      });
    },
  );
}

async function refuseWithout(stateDir: string): Promise<void> {
  if (!(await hasState(stateDir)))
    throw new Fault(
      "not-found",
      `no appliance has its state in ${stateDir}; to restore a backup there: flynn cluster restore --state ${stateDir} FILE`,
    );
}

/** Runs control's own command; what it says is said here. Returns its exit code, which is one of ours. */
async function control({ cli }: Invocation, args: readonly string[], print = cli.print): Promise<number> {
  const main = treeFile("control/main.ts");
  const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "pipe"], shell: false });
  createInterface({ input: child.stdout }).on("line", print);
  createInterface({ input: child.stderr }).on("line", cli.say);
  return await new Promise((done, failed) => {
    child.once("error", failed);
    child.once("close", (code) => done(code ?? 1));
  });
}

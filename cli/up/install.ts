// The appliance as a service of this machine: a systemd unit (systemd.service(5), systemd.exec(5)) that runs `flynn up` with the flags
// that were given, at each start of the machine and again whenever it ends.
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { Fault } from "#api/fault.ts";
import { ExecError, exec } from "#lib/exec.ts";
import { readText, writeFileAtomic } from "#lib/files.ts";

export const UNIT = "flynn.service";

export interface Installation {
  /** The pinned Node, and the tree it runs. */
  node: string;
  treeDir: string;
  /** Flags of `flynn up`, as argv. */
  args: readonly string[];
  /** Home of the user whose CLI is told of the cluster. */
  home: string;
}

/** Where things are; another root in tests. */
export interface Machine {
  unitFile: string;
  /** Exists while systemd is what started this machine. */
  systemdDir: string;
  isRoot: boolean;
  systemctl: (...args: string[]) => Promise<{ stdout: string }>;
}

export const thisMachine: Machine = {
  unitFile: `/etc/systemd/system/${UNIT}`,
  systemdDir: "/run/systemd/system",
  isRoot: process.getuid?.() === 0,
  systemctl: (...args) => exec(["systemctl", ...args], { timeoutMs: 120_000 }),
};

const ARGS_MARK = "# flags: ";

/** The unit file. Pure. */
export function unitText({ node, treeDir, args, home }: Installation): string {
  return `# Made by \`flynn up --install\`: run that again to change it, \`flynn down --uninstall\` to take it out.
${ARGS_MARK}${JSON.stringify(args)}
[Unit]
Description=Flynn appliance
Documentation=file://${treeDir}/README.md
Wants=network-online.target
After=network-online.target time-sync.target docker.service
StartLimitIntervalSec=0

[Service]
Type=exec
WorkingDirectory=${escaped(treeDir)}
Environment=${quoted(`HOME=${home}`)}
ExecStart=${[node, `${treeDir}/cli/main.ts`, "up", ...args].map(quotedArgument).join(" ")}
Restart=always
RestartSec=2
# Its parts are told to end in order by \`flynn up\` itself; what is left after that is killed.
KillMode=mixed
TimeoutStopSec=90
# A part that the kernel ends for want of memory is started again alone.
OOMPolicy=continue
LimitNOFILE=1048576
TasksMax=infinity

[Install]
WantedBy=multi-user.target
`;
}

/** Flags of the unit that is there; undefined when there is none of ours. */
export function argsOf(unit: string | undefined): string[] | undefined {
  const line = unit?.split("\n").find((one) => one.startsWith(ARGS_MARK));
  if (line === undefined) return undefined;
  try {
    const args: unknown = JSON.parse(line.slice(ARGS_MARK.length));
    return Array.isArray(args) && args.every((one) => typeof one === "string") ? args : undefined;
  } catch {
    return undefined;
  }
}

/** Writes the unit and starts it, or starts it anew. Without flags it keeps those of the unit that is there. */
export async function install(
  wish: Installation,
  machine: Machine = thisMachine,
): Promise<{ args: readonly string[] }> {
  await checkSystemd(machine, "install");
  const args = wish.args.length > 0 ? wish.args : (argsOf(await readText(machine.unitFile)) ?? []);
  await writeFileAtomic(machine.unitFile, unitText({ ...wish, args }));
  await machine.systemctl("daemon-reload");
  await machine.systemctl("enable", UNIT).catch(told("enable"));
  await machine.systemctl("restart", UNIT).catch(told("start"));
  return { args };
}

/** Ends it, and it is not started again. The state stays. */
export async function uninstall(machine: Machine = thisMachine): Promise<void> {
  await checkSystemd(machine, "uninstall");
  if (!existsSync(machine.unitFile)) throw new Fault("not-found", `${UNIT} is not installed on this machine`);
  await machine.systemctl("disable", "--now", UNIT).catch(told("stop"));
  await rm(machine.unitFile, { force: true });
  await machine.systemctl("daemon-reload");
}

/** Ends the service until the next start of the machine, if this process is it; else nothing is done and it is false. */
export async function stopService(pid: number, machine: Machine = thisMachine): Promise<boolean> {
  if (!existsSync(machine.unitFile) || !existsSync(machine.systemdDir)) return false;
  const { stdout } = await machine.systemctl("show", "--property=MainPID", "--value", UNIT);
  if (Number(stdout.trim()) !== pid) return false;
  if (!machine.isRoot)
    throw new Fault(
      "forbidden",
      `the appliance runs as ${UNIT}: end it as root, such as with sudo, or it starts again`,
    );
  await machine.systemctl("stop", UNIT).catch(told("stop"));
  return true;
}

async function checkSystemd({ isRoot, systemdDir }: Machine, what: string): Promise<void> {
  if (!isRoot)
    throw new Fault("forbidden", `--${what} changes services of this machine: run it as root, such as with sudo`);
  if (!existsSync(systemdDir))
    throw new Fault(
      "unavailable",
      `--${what} needs systemd, and this machine was not started by it; keep \`flynn up\` running by the init that it has`,
    );
}

const told =
  (what: string) =>
  (error: unknown): never => {
    const why = error instanceof ExecError ? error.stderr.trim().split("\n").at(-1) : undefined;
    throw new Fault(
      "internal",
      `systemd could not ${what} ${UNIT}${why ? `: ${why}` : ""}; see: journalctl -u ${UNIT} -n 50`,
      {
        cause: error,
      },
    );
  };

/** `%` begins a specifier everywhere in a unit. */
const escaped = (text: string): string => text.replaceAll("%", "%%");
const quoted = (text: string): string =>
  `"${escaped(text).replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
/** In a command line `$` begins a variable beside. */
const quotedArgument = (text: string): string => quoted(text).replaceAll("$", "$$$$");

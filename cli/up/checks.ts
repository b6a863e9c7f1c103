// What must be right before anything starts, and what to do when it is not: missing programs, a dead Docker, taken ports.
import { access, constants } from "node:fs/promises";
import { request } from "node:http";
import { delimiter, join } from "node:path";
import { Fault } from "#api/fault.ts";
import { portHolder } from "#lib/port-holder.ts";
import { commandLine } from "#lib/process-id.ts";
import type { UpConfig } from "./config.ts";
import type { Part } from "./parts.ts";
import { applianceOf } from "./running.ts";

export interface Problem {
  what: string;
  todo: string;
}

const PROGRAMS: { program: string; debian: string; needed: (config: UpConfig) => boolean; without?: string }[] = [
  { program: "haproxy", debian: "haproxy", needed: () => true },
  { program: "docker-registry", debian: "docker-registry", needed: () => true },
  { program: "skopeo", debian: "skopeo", needed: () => true },
  { program: "ip", debian: "iproute2", needed: () => true },
  { program: "git", debian: "git", needed: () => true },
  {
    program: "sshd",
    debian: "openssh-server",
    needed: ({ ssh }) => ssh,
    without: "serve git over HTTPS only: flynn up --no-ssh",
  },
  { program: "iptables", debian: "iptables", needed: ({ host }) => host },
  { program: "nft", debian: "nftables", needed: ({ host }) => host },
];

export async function missingPrograms(config: UpConfig, env: NodeJS.ProcessEnv): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const { program, debian, needed, without } of PROGRAMS) {
    if (needed(config) && !(await onPath(program, env)))
      problems.push({
        what: `the program ${program} is missing`,
        todo: `apt-get install ${debian}${without ? `; or ${without}` : ""}`,
      });
  }
  return problems;
}

export async function findProblems(
  config: UpConfig,
  parts: readonly Part[],
  env: NodeJS.ProcessEnv,
): Promise<Problem[]> {
  const problems = await missingPrograms(config, env);
  if (config.host) {
    const why = await dockerProblem(config.dockerSocket);
    if (why)
      problems.push({
        what: `the local Docker does not answer at ${config.dockerSocket}: ${why}`,
        todo: "apt-get install docker.io; systemctl start docker; or run without apps on this machine: flynn up --no-host",
      });
  }
  const others = new Map<string, { pid: number; ports: string[] }>();
  for (const { name, ports } of parts) {
    for (const { protocol, port } of ports) {
      const holder = await portHolder(protocol, port);
      if (holder === undefined || (await ours(holder.pid, config.stateDir))) continue;
      const other = await applianceOf(holder.pid);
      if (other !== undefined) {
        const held = others.get(other.stateDir)?.ports ?? [];
        others.set(other.stateDir, { pid: other.pid, ports: [...held, `${protocol} ${port}`] });
        continue;
      }
      problems.push({
        what: `${name} needs ${protocol} port ${port}, which ${holder.command} (pid ${holder.pid}) has`,
        todo: name === "router" ? "stop it, or choose another: --http-port, --https-port" : "stop it",
      });
    }
  }
  for (const [stateDir, { pid, ports }] of others)
    problems.push({
      what: `another appliance of this product runs here, with state ${stateDir} (pid ${pid}), and has the ports ${ports.join(", ")}`,
      todo: `use that one; or end it first: flynn down --state ${stateDir}`,
    });
  return problems;
}

/** `invalid` when it is the settings that must change, not the machine. */
export function refuse(problems: readonly Problem[], code: "unavailable" | "invalid" = "unavailable"): void {
  if (problems.length === 0) return;
  throw new Fault(
    code,
    ["flynn up cannot start:", ...problems.map(({ what, todo }) => `  - ${what}\n    ${todo}`)].join("\n"),
  );
}

export async function onPath(program: string, env: NodeJS.ProcessEnv): Promise<boolean> {
  for (const directory of [...(env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"]) {
    if (
      directory &&
      (await access(join(directory, program), constants.X_OK).then(
        () => true,
        () => false,
      ))
    )
      return true;
  }
  return false;
}

function dockerProblem(socketPath: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const req = request({ socketPath, path: "/_ping", timeout: 5_000 }, (reply) => {
      reply.resume();
      resolve(reply.statusCode === 200 ? undefined : `it answers ${reply.statusCode}`);
    });
    req.on("timeout", () => req.destroy(new Error("no answer within 5 s")));
    req.on("error", (error: NodeJS.ErrnoException) =>
      resolve(
        error.code === "ENOENT"
          ? "there is no such socket"
          : error.code === "EACCES"
            ? "this user may not use it"
            : error.message,
      ),
    );
    req.end();
  });
}

/** A process of an earlier run of this appliance (its parts are replaced, its HAProxy is adopted). */
async function ours(pid: number, stateDir: string): Promise<boolean> {
  return (await commandLine(pid)).includes(`${stateDir}/`);
}

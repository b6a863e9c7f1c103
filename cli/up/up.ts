// `flynn up`: the whole appliance on this machine, in the foreground. It checks, starts the parts in order with the same config
// files a cluster host uses, watches them, and ends them in the reverse order. A second start goes on where the first ended.
import { randomBytes } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { Fault } from "#api/fault.ts";

import { readJson, readText, writeFileInPlace } from "#lib/files.ts";
import { isFullDisk } from "#lib/full-disk.ts";
import { processId } from "#lib/process-id.ts";
import { causeChain } from "#lib/run.ts";
import { until } from "#lib/time.ts";
import { ownAddress, ownLinks } from "./address.ts";
import { type Place, saveAdmin, tokenProblem } from "./admin-token.ts";
import { findProblems, missingPrograms, onPath, refuse } from "./checks.ts";
import { compiledIn } from "./compiled.ts";

import type { UpConfig } from "./config.ts";
import { followCertificate } from "./follow-certificate.ts";
import { fullDiskText, isWithoutRoom, startNote } from "./full-disk.ts";
import { askLan, type LanVerdict, lanVerdict } from "./lan.ts";
import { listens } from "./listens.ts";
import { type Part, parts as partList } from "./parts.ts";
import { keepSettings, runningUp } from "./running.ts";
import { settingsProblems, settingsWarnings } from "./settings.ts";
import { type Supervised, supervise } from "./supervisor.ts";

export interface UpOptions {
  config: UpConfig;
  signal: AbortSignal;
  /** A line of progress for people. */
  say: (line: string) => void;
  env: NodeJS.ProcessEnv;
  treeDir: string;
}

/** What control prints on stdout at its very first start. */
interface FirstStart {
  adminToken: string;
  pin: string;
  url: string;
}

const READY_MS = 60_000;
const BOOT_READY_MS = 20_000;
/** Control that ends so often before it was ever up has a reason that no further start takes away. */
const FIRST_STARTS_MOST = 2;

export async function up(options: UpOptions): Promise<void> {
  const { stateDir } = options.config;
  await run(options).catch((cause: unknown) => {
    throw isFullDisk(cause) ? new Fault("unavailable", fullDiskText(stateDir), { cause }) : cause;
  });
}

async function run({ config: given, signal, say, env, treeDir }: UpOptions): Promise<void> {
  const { stateDir } = given;
  await refuseSecond(stateDir);
  if (!(await onPath("ip", env))) refuse(await missingPrograms(given, env)); // settings are compared with what it says
  const machine = { links: await ownLinks(), address: await ownAddress(given) };
  refuse(settingsProblems(given, machine), "invalid");
  for (const warning of settingsWarnings(given, machine)) say(`warning: ${warning}`);
  const { address } = machine;
  const lan = await lookAtLan(given, { address, signal, say });
  refuse(lan.problems);
  const config: UpConfig = { ...given, dhcp: lan.dhcp };
  const rest = { address, treeDir, node: process.execPath, hostname: hostName() };
  const list = partList({ config, ...rest, registrySecret: randomBytes(32).toString("hex") });
  refuse(await findProblems(config, list, env));
  for (const line of lan.say) say(line);
  for (const { what, todo } of lan.warnings) say(`warning: ${what}; ${todo}`);
  const runDir = join(stateDir, "run");
  for (const directory of [stateDir, runDir, config.imagesDir])
    await mkdir(directory, { recursive: true, mode: 0o700 });
  const over = new AbortController();
  const sayFull = () => say(`${fullDiskText(stateDir)}; what is served is served from what is there`);
  const isFull = await isWithoutRoom(stateDir);
  if (isFull) sayFull();
  const onFull = () => void (isFull || sayFull());
  const own = { file: join(runDir, "up.json"), text: JSON.stringify(await processId(process.pid)), onFull };
  const noted = await startNote({ ...own, signal: over.signal });
  await keepSettings(config).catch((error: unknown) => {
    if (!isFullDisk(error)) throw error; // the doctor goes by those of the start before
  });

  const compiled = await compiledIn(stateDir);
  const started: { part: Supervised; stop: AbortController; followed: Promise<void> }[] = [];
  const start = (part: Part, onLine?: (line: string) => void): Supervised => {
    const stop = new AbortController();
    const child = supervise(part, {
      runDir,
      logDir: join(stateDir, "log"),
      signal: stop.signal,
      env: { ...childEnvironment(env), ...compiled },
      onLine,
      onTrouble: (name, error) => say(`${name}: ${causeChain(error).join(": ")}`),
      onDeath: (name, how, waitMs) =>
        say(
          `${name} ${how}; started again in ${waitMs} ms (its log: ${join(stateDir, "log", `${name.replace(/ /g, "-")}.log`)})`,
        ),
    });
    const { certificate } = part;
    const trouble = (error: unknown) => say(`${part.name}: ${causeChain(error).join(": ")}`);
    const followed = certificate
      ? followCertificate({ part: child, file: certificate, signal: stop.signal, say }).catch(trouble)
      : Promise.resolve();
    started.push({ part: child, stop, followed });
    return child;
  };
  try {
    const of = (name: Part["name"]) => list.find((part) => part.name === name);
    await forget(join(stateDir, "control", "ready.json"));
    const controlPart = of("control")!;
    let saved: Promise<void> | undefined;
    const control = start(controlPart, (line) => {
      saved = firstToken(line, { say, env, stateDir, url: `https://${address}:${config.port}` });
    });
    const controlLog = join(stateDir, "log", "control.log");
    const ready = await until(
      async () => {
        if (control.restarts >= FIRST_STARTS_MOST) return "ended";
        const kept = await readJson<{ pid: number; pin: string; firstStart?: true }>(
          join(stateDir, "control", "ready.json"),
        );
        return kept?.pid !== undefined && kept.pid === control.pid ? kept : undefined;
      },
      { what: `control coming up (its log: ${controlLog})`, timeoutMs: READY_MS, signal },
    ).catch((cause: unknown) => {
      throw signal.aborted ? cause : new Fault("unavailable", "control did not come up", { cause });
    });
    if (ready === "ended")
      throw new Fault(
        "unavailable",
        `control cannot start: ${(await isWithoutRoom(stateDir)) ? fullDiskText(stateDir) : await lastError(controlLog)} (its log: ${controlLog})`,
      );
    // Asked for once: a restart of control after this one refuses damage again.
    if (config.salvage) controlPart.file = withSettings(controlPart, { salvage: false }).file;
    say(`control is up at https://${address}:${config.port} (pin ${ready.pin})`);
    // Whoever reads that the appliance is up may use it at once.
    if (ready.firstStart)
      await until(() => saved !== undefined, { what: "the admin token", timeoutMs: READY_MS, signal });
    await saved;
    if (!ready.firstStart)
      await sayTokenProblem({ pin: ready.pin, url: `https://127.0.0.1:${config.port}` }, say, {
        stateDir,
        env,
        signal,
      });
    for (const name of ["registry-push", "registry", "router", "hostd", "sshd", "boot server"] as const) {
      const part = of(name);
      if (part === undefined) continue;
      start(await withToken(part, stateDir));
      say(
        `${name} started${name === "router" ? `, http://${address}:${config.httpPort}/` : name === "sshd" ? `, ssh://git@${address}:${config.sshPort}/APP.git` : name === "boot server" ? ` on ${config.interface} (${config.dhcp} DHCP)` : ""}`,
      );
    }
    if (!config.ssh) say("git is served over HTTPS only; over SSH too when run as root, without --no-ssh");
    if (config.interface && config.appEgress === "all" && config.bootNetworks.length === 0)
      say(
        "apps reach every network but this machine's own addresses: name the one that machines boot on if they must not (--boot-networks 10.20.0.0/24)",
      );
    if (!config.interface) say("boot services are off; machines boot from here with --interface IFACE");
    if (config.interface !== "") {
      // Whoever reads that the appliance is up may switch a machine on at once.
      const { bootPort: port } = config;
      await listens({ address, port, what: "the boot server", timeoutMs: BOOT_READY_MS, signal }).catch((error) => {
        if (signal.aborted) throw error;
        say(
          `warning: the boot server does not answer on TCP ${port} yet; its log: ${join(stateDir, "log", "boot-server.log")}`,
        );
      });
    }
    say("the appliance is up; Ctrl-C ends it");
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    say("ending");
  } finally {
    for (const { part, stop, followed } of started.reverse()) {
      stop.abort();
      await Promise.all([part.done, followed]);
    }
    over.abort();
    await noted.written;
    await rm(join(runDir, "up.json"), { force: true });
  }
}

/** Without an interface there is none, and an appliance that cannot run yet asks nobody. */
async function lookAtLan(
  config: UpConfig,
  { address, signal, say }: { address: string; signal: AbortSignal; say: UpOptions["say"] },
): Promise<LanVerdict> {
  if (config.interface === "") return { dhcp: "proxy", say: [], warnings: [], problems: [] };
  say(`asking on ${config.interface} which DHCP servers answer`);
  return lanVerdict(config, await askLan(config, { address, signal }));
}

/** Written over, not removed: its room is the one that a full disk has for the next. */
async function forget(file: string): Promise<void> {
  if ((await readText(file)) !== undefined) await writeFileInPlace(file, "{}");
}

async function refuseSecond(stateDir: string): Promise<void> {
  const running = await runningUp(stateDir);
  if (running && running.pid !== process.pid)
    throw new Fault(
      "conflict",
      `an appliance with state ${stateDir} runs already (pid ${running.pid}); end it with \`flynn down --state ${stateDir}\``,
    );
}

/** Why a program ended, in its own last words. */
async function lastError(logFile: string): Promise<string> {
  const lines = ((await readText(logFile)) ?? "").slice(-16_384).split("\n");
  return lines.findLast((line) => line.startsWith("error: "))?.slice("error: ".length) ?? "it does not say why";
}

/** router and hostd take their first join token in the config; it is harmless once they have joined. */
async function withToken(part: Part, stateDir: string): Promise<Part> {
  const role = part.name === "router" ? "router" : part.name === "hostd" ? "host" : undefined;
  const joinToken = role && (await readText(join(stateDir, "control", "local-join", role)));
  return joinToken ? withSettings(part, { joinToken }) : part;
}

/** The part with these settings in the file it is given. */
function withSettings(part: Part, settings: object): Part {
  const content = JSON.stringify({ ...(JSON.parse(part.file.content) as object), ...settings }, null, 2);
  return { ...part, file: { ...part.file, content: `${content}\n` } };
}

async function firstToken(
  line: string,
  { say, env, stateDir, url }: { say: (line: string) => void; env: NodeJS.ProcessEnv; stateDir: string; url: string },
): Promise<void> {
  let first: FirstStart;
  try {
    first = JSON.parse(line) as FirstStart;
  } catch {
    return say(`control: ${line.slice(0, 200)}`); // nothing else is expected on its stdout
  }
  say(`new cluster. The admin token, shown this once: ${first.adminToken}`);
  try {
    const { pin, adminToken: token } = first;
    const { cluster, file, git } = await saveAdmin({ token, pin, url }, { stateDir, env });
    say(git);
    say(
      `saved as cluster "${cluster.name}" in ${file}; from another machine: flynn cluster add -p ${pin} ${cluster.name} ${url} ${token}`,
    );
  } catch (error) {
    say(
      `not saved for the CLI: ${causeChain(error).join(": ")}; add it by hand with the token above: flynn cluster add`,
    );
  }
}

/** Said once, and no reason to end what works. */
async function sayTokenProblem(
  admin: { pin: string; url: string },
  say: UpOptions["say"],
  place: Place,
): Promise<void> {
  try {
    const problem = await tokenProblem(admin, place);
    if (problem !== undefined) say(problem);
  } catch (error) {
    say(`whether the CLI's token is good is not known: ${causeChain(error).join(": ")}`);
  }
}

/** Bytes that the C library keeps at its heap's end before it gives them back (mallopt(3)); by itself it raises that to 64 MiB. */
const MALLOC_TRIM_THRESHOLD_ = "131072";

function childEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { PATH = "/usr/sbin:/usr/bin:/sbin:/bin", LANG, TZ } = env;
  return {
    PATH: `${PATH}:/usr/sbin:/sbin`,
    HOME: "/nonexistent",
    MALLOC_TRIM_THRESHOLD_,
    ...(LANG ? { LANG } : {}),
    ...(TZ ? { TZ } : {}),
  };
}

function hostName(): string {
  return (
    hostname()
      .toLowerCase()
      .replace(/[^a-z0-9-]/g, "-")
      .replace(/^[^a-z]+/, "")
      .slice(0, 30)
      .replace(/-+$/, "") || "appliance"
  );
}

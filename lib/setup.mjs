// First step of every npm script: `node lib/setup.mjs [--apt set,set] -- script.ts args...` makes the machine able to run
// the script (npm packages by the lock file, Debian packages by set), then runs it with the pinned Node. Plain JavaScript
// without dependencies, because it runs on whatever Node (18 or newer) the machine has. Says what it does on stderr only.
import { spawn } from "node:child_process";
import { existsSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { DEBIAN_SETS } from "./setup/packages.mjs";
import { lookAround, problems, problemsAfterInstall } from "./setup/preflight.mjs";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const POLICY = "/usr/sbin/policy-rc.d";
const POLICY_MARK = "# flynn setup, pid";

/** Services that only serve as programs of ours: never started by systemd on their own. Docker stays as Debian has it. */
const UNITS = {
  "cloud-init": ["cloud-init-local", "cloud-init", "cloud-config", "cloud-final"],
  haproxy: "haproxy",
  "docker-registry": "docker-registry",
  "openssh-server": "ssh",
  "tftpd-hpa": "tftpd-hpa",
  nginx: "nginx",
};

class SetupError extends Error {}

const undos = new Set();
const state = { child: undefined, script: false, lastSignalMs: 0, stoppedBy: undefined };

async function main() {
  const { sets, script, args } = parseArguments(process.argv.slice(2));
  handleSignals();
  const lock = readJson(join(ROOT, "package-lock.json"));
  if (lock === undefined) throw new SetupError("package-lock.json is missing or unreadable: is this a whole clone?");
  const reason = outdated(lock, readJson(join(ROOT, "node_modules/.package-lock.json")));
  const missing = await missingPackages([...new Set(sets.flatMap((set) => DEBIAN_SETS[set]))]);
  if (sets.length > 0 || reason !== undefined) {
    const needsNpm = reason !== undefined;
    refuse(problems(sets, await lookAround(sets, { missingPackages: missing, needsNpm, args })));
  }
  if (reason !== undefined) await installNodePackages(lock, reason);
  if (missing.length > 0) await installDebianPackages(sets, missing);
  if (state.stoppedBy === undefined) refuse(problemsAfterInstall(sets));
  if (state.stoppedBy !== undefined) return exitCodeOf(state.stoppedBy);
  // Its own session: a terminal's Ctrl-C reaches it once, through us, and not once per process above it. It is told to end
  // when this process dies in whatever way.
  const node = join(ROOT, "node_modules/.bin/node");
  state.script = true;
  return run(["setpriv", "--pdeathsig", "TERM", "--", node, resolve(ROOT, script), ...args], {
    detached: true,
    stdio: "inherit",
  });
}

/** Everything that is missing, at once. */
function refuse(found) {
  if (found.length === 0) return;
  const count = found.length === 1 ? "one thing is" : `${found.length} things are`;
  throw new SetupError(`${count} missing before this can run:\n${found.map((line) => `  - ${line}`).join("\n")}`);
}

function parseArguments(argv) {
  const usage = "usage: node lib/setup.mjs [--apt set,set] -- script.ts [arguments]";
  const end = argv.indexOf("--");
  const script = end < 0 ? undefined : argv[end + 1];
  if (script === undefined) throw new SetupError(usage);
  const options = argv.slice(0, end);
  const sets = options[0] === "--apt" && options.length === 2 ? options[1].split(",") : [];
  if (options.length > 0 && sets.length === 0) throw new SetupError(usage);
  const unknown = sets.find((set) => !Object.hasOwn(DEBIAN_SETS, set));
  if (unknown !== undefined) {
    throw new SetupError(`no set of packages is called "${unknown}"; there are ${Object.keys(DEBIAN_SETS).join(", ")}`);
  }
  return { sets, script, args: argv.slice(end + 2) };
}

async function installNodePackages(lock, reason) {
  const manifest = readJson(join(ROOT, "package.json"));
  for (const kind of ["dependencies", "devDependencies"]) {
    if (JSON.stringify(lock.packages[""][kind]) !== JSON.stringify(manifest[kind])) {
      throw new SetupError(`package-lock.json does not belong to package.json (${kind}): run npm install`);
    }
  }
  // Not `npm ci`: npm 11.16 and later refuse a lock file when the registry in use lacks an optional package of some other
  // platform (npm/cli #9846). Without --save nothing is written but node_modules; that it equals the lock is checked below.
  const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ["npm"];
  const install = ["install", "--no-save", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"];
  // Node reads SSL_CERT_FILE only on request, and whoever has set it wants it to be trusted.
  const { SSL_CERT_FILE: authorities } = process.env;
  const env = { ...(authorities ? { NODE_EXTRA_CA_CERTS: authorities } : {}), ...process.env };
  const options = { cwd: ROOT, env, stdio: ["ignore", 2, 2] };
  const step = async (what, argv) => {
    const code = await withProgress(what, () => run(argv, options));
    if (code !== 0 && state.stoppedBy === undefined)
      throw new SetupError("npm install failed: its lines above say why");
  };
  const installed = () => readJson(join(ROOT, "node_modules/.package-lock.json"));
  await step(`installing npm packages (${reason})`, [...npm, ...install]);
  // npm leaves out a package's build for this machine when the Node that npm runs on is too old for it: the pinned one is not.
  const pinned = join(ROOT, "node_modules/.bin/node");
  const cli = npm[1] ?? findProgram("npm");
  if (state.stoppedBy === undefined && outdated(lock, installed()) !== undefined && existsSync(pinned) && cli)
    await step("installing the npm packages that this machine's own Node is too old for", [pinned, cli, ...install]);
  if (state.stoppedBy !== undefined) return;
  const still = outdated(lock, installed());
  if (still !== undefined) throw new SetupError(`npm install did not install what package-lock.json says: ${still}`);
}

/** Why the installed tree does not match the lock file; undefined when it does. */
function outdated(lock, installed) {
  if (installed === undefined || !existsSync(join(ROOT, "node_modules/.bin/node"))) return "none yet";
  for (const [path, wanted] of Object.entries(lock.packages)) {
    if (path === "" || wanted.link) continue;
    const have = installed.packages[path];
    if (
      have === undefined
        ? isBuildForThisMachine(wanted) || !(wanted.optional || wanted.devOptional || wanted.peer)
        : have.version !== wanted.version
    ) {
      return `${path.replace("node_modules/", "")} ${have === undefined ? "is missing" : "changed"}`;
    }
  }
  return undefined;
}

/** One of the builds that packages of native code come in, by what the lock file says of its machine. */
function isBuildForThisMachine({ os, cpu, libc }) {
  const fits = (list, mine) => list === undefined || list.includes(mine);
  return cpu !== undefined && fits(os, process.platform) && fits(cpu, process.arch) && fits(libc, "glibc");
}

/** Where a program of the search path really is; undefined when it is nowhere. */
function findProgram(name) {
  const found = (process.env.PATH ?? "").split(":").find((folder) => existsSync(join(folder, name)));
  return found === undefined ? undefined : realpathSync(join(found, name));
}

async function installDebianPackages(sets, missing) {
  const command = `apt-get update && apt-get install -y --no-install-recommends ${missing.join(" ")}`;
  if (!existsSync("/usr/bin/apt-get"))
    throw new SetupError(`this is no Debian; it needs what Debian calls: ${missing.join(" ")}`);
  holdServices();
  try {
    const apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"];
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const options = { env, stdio: ["ignore", 2, 2] };
    const step = async (what, argv) => {
      if (state.stoppedBy !== undefined) return;
      const code = await withProgress(what, () => run(argv, options));
      if (code !== 0 && state.stoppedBy === undefined)
        throw new SetupError(`${what} failed: its lines above say why. By hand, as root:\n  ${command}`);
    };
    await step("reading Debian's package lists", [...apt, "update"]);
    await step(`installing ${missing.length} Debian packages`, [
      ...apt,
      "install",
      "-y",
      "--no-install-recommends",
      ...missing,
    ]);
  } finally {
    undoAll();
  }
  const units = missing.flatMap((name) => UNITS[name] ?? []);
  if (!existsSync("/run/systemd/system")) return;
  if (units.length > 0) await run(["systemctl", "disable", "--quiet", ...units], { stdio: ["ignore", 2, 2] });
  if (sets.includes("run") && missing.includes("docker.io"))
    await run(["systemctl", "start", "docker"], { stdio: ["ignore", 2, 2] });
}

async function missingPackages(names) {
  if (names.length === 0) return [];
  let listed = "";
  // Exits 1 when it knows nothing of one of the names, and still lists the others.
  const format = ["Package", "db:Status-Status"].map((field) => `$\{${field}}`).join(" ");
  await run(["dpkg-query", "-W", "-f", `${format}\n`, ...names], {
    stdio: ["ignore", "pipe", "ignore"],
    onOutput: (chunk) => {
      listed += chunk;
    },
  }).catch(() => 127);
  const installed = new Set(
    listed
      .split("\n")
      .filter((line) => line.endsWith(" installed"))
      .map((line) => line.split(" ")[0]),
  );
  return names.filter((name) => !installed.has(name));
}

/** Debian starts a service when its package is installed, unless this file says no (policy-rc.d, exit code 101). */
function holdServices() {
  const owner = existsSync(POLICY) ? readFileSync(POLICY, "utf8").split(POLICY_MARK)[1] : undefined;
  if (owner !== undefined && !existsSync(`/proc/${Number.parseInt(owner, 10)}`)) rmSync(POLICY); // left by a killed run
  if (existsSync(POLICY)) return;
  const remove = () => rmSync(POLICY, { force: true });
  undos.add(remove);
  process.once("exit", remove);
  writeFileSync(POLICY, `#!/bin/sh\n${POLICY_MARK} ${process.pid}\nexit 101\n`, { mode: 0o755 });
}

function undoAll() {
  for (const undo of undos) undo();
  undos.clear();
}

function run(argv, { onOutput, ...options }) {
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0], argv.slice(1), options);
    state.child = child;
    child.stdout?.setEncoding("utf8").on("data", onOutput);
    child.once("error", (error) => reject(new SetupError(`cannot start ${argv[0]}: ${error.message}`)));
    child.once("close", (code, signal) => resolve(code ?? exitCodeOf(signal)));
  });
}

async function withProgress(what, work) {
  const startedMs = Date.now();
  const say = (text) => process.stderr.write(`setup: ${text}\n`);
  say(`${what} ...`);
  const timer = setInterval(() => say(`${what}, ${Math.round((Date.now() - startedMs) / 1000)} s so far`), 10_000);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

function handleSignals() {
  const pass = (name) => {
    // One Ctrl-C arrives here from the terminal and again from npm; the script takes a second one as "at once".
    if (Date.now() - state.lastSignalMs < 500) return;
    state.lastSignalMs = Date.now();
    if (state.script) return state.child.kill(name);
    state.stoppedBy = name;
    state.child?.kill(name);
  };
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => pass(name));
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) pass("SIGTERM"); // npm was killed outright
  }, 1_000).unref();
}

function exitCodeOf(signal) {
  return 128 + (constants.signals[signal] ?? 0);
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

main().then(
  (code) => process.exit(code),
  (error) => {
    undoAll();
    process.stderr.write(error instanceof SetupError ? `error: ${error.message}\n` : `${error.stack}\n`);
    process.exit(error instanceof SetupError ? 2 : 1);
  },
);

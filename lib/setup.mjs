// First step of every npm script: `node lib/setup.mjs [--apt set,set] -- script.ts args...` makes the machine able to run
// the script (npm packages by the lock file, Debian packages by set), then runs it with the pinned Node. Plain JavaScript
// without dependencies, because it runs on whatever Node (18 or newer) the machine has. Says what it does on stderr only.
import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const POLICY = "/usr/sbin/policy-rc.d";
const POLICY_MARK = "# flynn setup, pid";

const HOST = [
  "docker.io",
  "iptables",
  "iproute2",
  "haproxy",
  "docker-registry",
  "skopeo",
  "git",
  "openssh-server",
  "openssl",
  "ca-certificates",
];
const IMAGE = [
  "mmdebstrap",
  "debian-archive-keyring",
  "squashfs-tools",
  "cpio",
  "zstd",
  "xz-utils",
  "e2fsprogs",
  "kmod",
  "ipxe",
];
const DEBIAN_SETS = {
  run: [...HOST, ...IMAGE],
  lab: [...HOST, ...IMAGE, "qemu-system-x86", "ipxe-qemu", "seabios", "busybox-static", "curl", "openssh-client"],
  test: ["tftp-hpa", "atftp", "tftpd-hpa", "git", "openssh-server", "openssh-client"],
  bench: ["dnsmasq-base", "nginx-light", "tftpd-hpa", "wrk"],
};
/** Services that only serve as programs of ours: never started by systemd on their own. Docker stays as Debian has it. */
const UNITS = {
  haproxy: "haproxy",
  "docker-registry": "docker-registry",
  "openssh-server": "ssh",
  "tftpd-hpa": "tftpd-hpa",
  "nginx-light": "nginx",
};

class SetupError extends Error {}

const undos = new Set();
const state = { child: undefined, script: false, lastSignalMs: 0, stoppedBy: undefined };

async function main() {
  const { sets, script, args } = parseArguments(process.argv.slice(2));
  handleSignals();
  await installNodePackages();
  if (sets.length > 0) await installDebianPackages(sets);
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

async function installNodePackages() {
  const lock = readJson(join(ROOT, "package-lock.json"));
  if (lock === undefined) throw new SetupError("package-lock.json is missing or unreadable: is this a whole clone?");
  const reason = outdated(lock, readJson(join(ROOT, "node_modules/.package-lock.json")));
  if (reason === undefined) return;
  const manifest = readJson(join(ROOT, "package.json"));
  for (const kind of ["dependencies", "devDependencies"]) {
    if (JSON.stringify(lock.packages[""][kind]) !== JSON.stringify(manifest[kind])) {
      throw new SetupError(`package-lock.json does not belong to package.json (${kind}): run npm install`);
    }
  }
  // Not `npm ci`: npm 11.16 and later refuse a lock file when the registry in use lacks an optional package of some other
  // platform (npm/cli #9846). Without --save nothing is written but node_modules; that it equals the lock is checked below.
  const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ["npm"];
  const argv = [...npm, "install", "--no-save", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"];
  const options = { cwd: ROOT, stdio: ["ignore", 2, 2] };
  const code = await withProgress(`installing npm packages (${reason})`, () => run(argv, options));
  if (state.stoppedBy !== undefined) return;
  if (code !== 0) throw new SetupError("npm install failed: its lines above say why");
  const still = outdated(lock, readJson(join(ROOT, "node_modules/.package-lock.json")));
  if (still !== undefined) throw new SetupError(`npm install did not install what package-lock.json says: ${still}`);
}

/** Why the installed tree does not match the lock file; undefined when it does. */
function outdated(lock, installed) {
  if (installed === undefined || !existsSync(join(ROOT, "node_modules/.bin/node"))) return "none yet";
  for (const [path, wanted] of Object.entries(lock.packages)) {
    if (path === "" || wanted.link) continue;
    const have = installed.packages[path];
    if (
      have === undefined ? !(wanted.optional || wanted.devOptional || wanted.peer) : have.version !== wanted.version
    ) {
      return `${path.replace("node_modules/", "")} ${have === undefined ? "is missing" : "changed"}`;
    }
  }
  return undefined;
}

async function installDebianPackages(sets) {
  const wanted = [...new Set(sets.flatMap((set) => DEBIAN_SETS[set]))];
  const missing = await missingPackages(wanted);
  if (missing.length === 0) return;
  const command = `apt-get update && apt-get install -y --no-install-recommends ${missing.join(" ")}`;
  if (!existsSync("/usr/bin/apt-get"))
    throw new SetupError(`this is no Debian; it needs what Debian calls: ${missing.join(" ")}`);
  if (process.getuid() !== 0)
    throw new SetupError(`Debian packages are missing and only root can install them. Run as root:\n  ${command}`);
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

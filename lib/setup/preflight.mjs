// What a run needs of the machine, looked at before anything is installed or tested, and said all at once: each line what is missing,
// why it matters, and what to do. `problems` is the rule; `lookAround` gathers what it judges. Runs on any Node from 18 on.
import { execFileSync, spawnSync } from "node:child_process";
import { lookup } from "node:dns/promises";
import { existsSync, readFileSync, statfsSync, statSync } from "node:fs";
import { connect } from "node:net";
import { arch, freemem, totalmem } from "node:os";
import { dirname } from "node:path";

const GIB = 1024 ** 3;
/** Seen at its highest during all of `npm test`, with room: caches of images and stack, lab hosts, compiled Go. */
export const CACHE_BYTES = 6 * GIB;
export const SCRATCH_BYTES = 8 * GIB;
/** An emulated machine, an appliance, and dockerd of three hosts with a build. */
export const MEMORY_BYTES = 6 * GIB;
const ANSWER_MS = 10_000;
const GO_LEAST = [1, 24];
export const NO_GO = `Go ${GO_LEAST.join(".")} or newer is neither in PATH nor in /usr/local/go or /usr/lib/go-*`;

export const CA_VARIABLES = [
  "NODE_EXTRA_CA_CERTS",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "PIP_CERT",
  "REQUESTS_CA_BUNDLE",
  "CURL_CA_BUNDLE",
  "GIT_SSL_CAINFO",
  "npm_config_cafile",
];

const gib = (bytes) => `${(bytes / GIB).toFixed(1)} GiB`;

/** `sets`: what of lib/setup/packages.mjs the run asks for. A text for each thing that is missing. */
export function problems(sets, facts) {
  const lab = sets.includes("lab") || sets.includes("fresh");
  const found = [];
  for (const { name, path } of facts.missingFiles)
    found.push(`${name} names ${path}, which is not there: correct it, or unset it (unset ${name})`);
  if (facts.architecture !== "x64")
    found.push(`this processor is ${facts.architecture}: Flynn runs on x86-64; use such a machine`);
  for (const { url, why } of facts.unreachable)
    found.push(
      `${url} cannot be reached (${why}), and packages are to be installed: check the network, or set HTTPS_PROXY`,
    );
  if (sets.length === 0) return found;
  if (!facts.debian)
    found.push(`this is ${facts.system}, and packages come from Debian 12: use a Debian 12 (bookworm)`);
  else if (lab && facts.version !== "12")
    found.push(
      `this is Debian ${facts.version}: the images are made from Debian 12 (bookworm); use a machine with that`,
    );
  if (!facts.root && (lab || facts.missingPackages.length > 0)) {
    const install = `apt-get update && apt-get install -y --no-install-recommends ${facts.missingPackages.join(" ")}`;
    found.push(
      lab
        ? "only root can make the lab's networks and mounts: run the same command as root (sudo npm test)"
        : `Debian packages are missing, and only root can install them. As root: ${install}`,
    );
  }
  if (!lab) return found;
  for (const { path, free, needed } of facts.disks)
    if (free < needed)
      found.push(
        `${path} has ${gib(free)} free of the ${gib(needed)} that the run needs: make room, or name another folder (export ${path === facts.cache ? "FLYNN_CACHE" : "TMPDIR"}=/large/disk)`,
      );
  if (facts.memory < MEMORY_BYTES)
    found.push(
      `${gib(facts.memory)} of memory are free of the ${gib(MEMORY_BYTES)} that emulated machines and builds need: end other programs, or use a larger machine`,
    );
  for (const name of facts.missingKernel)
    found.push(`the kernel lacks ${name}: use a kernel as Debian has it, not a container without rights`);
  if (sets.includes("test") && facts.needsGo && !facts.go)
    found.push(
      `${NO_GO}: npm test builds a Cloud Native Buildpacks lifecycle with it. Install it, such as golang-1.24-go of a newer Debian release`,
    );
  return found;
}

export async function lookAround(sets, { missingPackages, needsNpm, args, variables = process.env }) {
  const release = osRelease();
  const cache = variables.FLYNN_CACHE ?? "/var/cache/flynn";
  const scratch = variables.TMPDIR ?? "/tmp";
  const lab = sets.includes("lab") && !args.includes("--unit");
  const lifecycle = args.filter((word) => !word.startsWith("-"));
  return {
    missingFiles: missingFiles(variables, sets.length > 0),
    architecture: arch(),
    debian: release.ID === "debian" || (release.ID_LIKE ?? "").split(" ").includes("debian"),
    system: release.PRETTY_NAME ?? "an unknown system",
    version: release.VERSION_ID ?? "",
    root: process.getuid() === 0,
    missingPackages,
    unreachable: await unreachable(variables, { npm: needsNpm, apt: missingPackages.length > 0 }),
    cache,
    disks: lab ? disks(cache, scratch) : [],
    memory: memoryBytes(),
    missingKernel: lab ? missingKernel() : [],
    needsGo: lab && (lifecycle.length === 0 || lifecycle.some((word) => "test/lab/cnb-push.test.ts".includes(word))),
    go: lab && hasGo(cache),
  };
}

function missingFiles(variables, asks) {
  const named = CA_VARIABLES.map((name) => ({ name, path: variables[name] ?? "" }));
  if (asks) named.push({ name: "npm's cafile", path: output("npm", ["config", "get", "cafile"]) });
  return named.filter(
    ({ path }) => path !== "" && path !== "null" && !path.split(":").some((each) => existsSync(each)),
  );
}

/** npm itself is asked for one package, once: it knows its registry, proxy and authorities best. */
function npmRefusal(variables) {
  const env = { ...(variables.SSL_CERT_FILE ? { NODE_EXTRA_CA_CERTS: variables.SSL_CERT_FILE } : {}), ...variables };
  const options = { env, stdio: ["ignore", "pipe", "pipe"], timeout: 40_000 };
  const { status, stderr } = spawnSync(
    "npm",
    ["view", "uvu", "version", "--fetch-retries=0", "--fetch-timeout=15000"],
    options,
  );
  if (status === 0) return [];
  const why = /npm (?:ERR!|error) code (\S+)/.exec(String(stderr))?.[1] ?? "npm view failed";
  const trust = /CERT|SIGN|ISSUER/.test(why)
    ? ", which is a matter of trust: export NODE_EXTRA_CA_CERTS=/path/of/the/ca.pem"
    : "";
  return [{ url: output("npm", ["config", "get", "registry"]) || "npm's registry", why: `${why}${trust}` }];
}

/** Where packages come from, asked for a connection; behind a proxy the installers themselves say what is wrong. */
async function unreachable(variables, { npm, apt }) {
  const npmTrouble = npm ? npmRefusal(variables) : [];
  if (Object.keys(variables).some((name) => /^(https?|all)_proxy$/i.test(name) && variables[name] !== ""))
    return npmTrouble;
  const urls = new Set();
  if (apt && output("apt-config", ["dump"]).match(/^Acquire::https?::(\S+::)?Proxy "[^"]/im)) return npmTrouble;
  if (apt)
    for (const [, url] of output("apt-get", ["--print-uris", "update"]).matchAll(/^'(https?:\/\/[^/]+\/)/gm))
      urls.add(url);
  const results = await Promise.all(
    [...urls]
      .filter((url) => /^https?:/.test(url))
      .map(async (url) => ({ url: new URL(url).origin, why: await whyNot(url) })),
  );
  return [...npmTrouble, ...results.filter(({ why }) => why !== undefined)];
}

async function whyNot(url) {
  const { hostname, port, protocol } = new URL(url);
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve("no answer within 10 s"), ANSWER_MS);
  });
  const asked = lookup(hostname).then(
    ({ address }) =>
      new Promise((resolve) => {
        const socket = connect(Number(port) || (protocol === "https:" ? 443 : 80), address);
        const end = (why) => {
          socket.destroy();
          resolve(why);
        };
        socket.setTimeout(ANSWER_MS, () => end("no answer within 10 s"));
        socket.once("connect", () => end(undefined)).once("error", (error) => end(error.code));
      }),
    (error) => `its name is not known: ${error.code}`,
  );
  const why = await Promise.race([asked, late]);
  clearTimeout(timer);
  return why;
}

/** Both folders on one disk share its room. What the cache holds is not needed again. */
function disks(cache, scratch) {
  const at = (path) => (existsSync(path) ? path : at(dirname(path)));
  const held = existsSync(cache) ? Number(output("du", ["-sb", cache]).split(/\s/)[0]) || 0 : 0;
  const forCache = Math.max(0, CACHE_BYTES - held);
  const free = (path) => {
    const { bavail, bsize } = statfsSync(at(path));
    return bavail * bsize;
  };
  if (statSync(at(cache)).dev === statSync(at(scratch)).dev)
    return [{ path: scratch, free: free(scratch), needed: forCache + SCRATCH_BYTES }];
  return [
    { path: cache, free: free(cache), needed: forCache },
    { path: scratch, free: free(scratch), needed: SCRATCH_BYTES },
  ];
}

function memoryBytes() {
  const available = /^MemAvailable:\s+(\d+) kB/m.exec(text("/proc/meminfo"))?.[1];
  return available === undefined ? Math.min(freemem(), totalmem()) : Number(available) * 1024;
}

function missingKernel() {
  const missing = [];
  if (process.getuid() !== 0) return missing;
  if (!succeeds("unshare", ["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "true"]))
    missing.push("namespaces (mount, network, process)");
  const has = (name) => new RegExp(`\\b${name}$`, "m").test(text("/proc/filesystems")) || succeeds("modprobe", [name]);
  if (!has("overlay")) missing.push("the overlay file system");
  if (!existsSync("/dev/loop-control") && !succeeds("modprobe", ["loop"])) missing.push("loop devices");
  if (!existsSync("/dev/net/tun") && !succeeds("modprobe", ["tun"])) missing.push("TUN and TAP devices");
  return missing;
}

/** A lifecycle that was built before needs none. */
function hasGo(cache) {
  return succeeds("sh", ["-c", 'ls "$1"/lifecycle-*/lifecycle', "sh", cache]) || findGo() !== undefined;
}

/** The first Go that is new enough: in PATH, in /usr/local/go, or where Debian's packages of one version have it. */
export function findGo() {
  const found = output("sh", ["-c", "ls -d /usr/local/go/bin/go /usr/lib/go-*/bin/go"]).split("\n").filter(Boolean);
  return ["go", ...found].find((go) => {
    const [, major, minor] = /^go(\d+)\.(\d+)/.exec(output(go, ["env", "GOVERSION"])) ?? [];
    return Number(major) > GO_LEAST[0] || (Number(major) === GO_LEAST[0] && Number(minor) >= GO_LEAST[1]);
  });
}

/** What only installed programs can show. */
export function problemsAfterInstall(sets) {
  if (
    !sets.includes("lab") ||
    process.getuid() !== 0 ||
    succeeds("unshare", ["--net", "iptables", "-w", "-t", "nat", "-S"])
  )
    return [];
  return [
    "the kernel lacks nf_tables with NAT, which Docker and the lab's networks need: use a kernel as Debian has it",
  ];
}

function osRelease() {
  const lines = text("/etc/os-release").split("\n");
  return Object.fromEntries(
    lines.map((line) => [line.split("=")[0], line.split("=").slice(1).join("=").replace(/"/g, "")]),
  );
}

function text(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function output(program, args) {
  try {
    return execFileSync(program, args, { stdio: ["ignore", "pipe", "ignore"], timeout: 20_000 })
      .toString()
      .trim();
  } catch (error) {
    return String(error.stdout ?? "").trim();
  }
}

function succeeds(program, args) {
  try {
    execFileSync(program, args, { stdio: "ignore", timeout: 20_000 });
    return true;
  } catch {
    return false;
  }
}

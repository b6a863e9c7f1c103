// Reads package.json for the buildpack's shell programs: `package.mjs FILE facts|start`. Node.js takes its time to start: what there is
// to know before the packages are installed is told at once.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const [file, question] = process.argv.slice(2);
const warn = (text) => process.stdout.write(` !     ${text}\n`);

function read() {
  try {
    const value = JSON.parse(readFileSync(file, "utf8").replace(/^\ufeff/, ""));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
    warn("package.json holds no object.");
  } catch (error) {
    warn(`package.json is not JSON: ${error.message.split("\n")[0]}`);
  }
  return process.exit(1);
}

/** npm's own reader of version ranges: what npm would say is what we say. */
function semver() {
  const npm = execFileSync("sh", ["-c", "command -v npm"], { encoding: "utf8" }).trim();
  return createRequire(join(dirname(realpathSync(npm)), "../package.json"))("semver");
}

/** Scripts of the app that npm runs when it installs (npm-scripts(7)). */
const LIFECYCLE = ["preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare"];
const DEPENDENCIES = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];

/** Neither the app nor its lock file names a package, and nothing is to be run: a package manager would change nothing. */
function isBare(pack) {
  if (DEPENDENCIES.some((kind) => Object.keys(pack[kind] ?? {}).length > 0) || pack.workspaces !== undefined)
    return false;
  if (LIFECYCLE.some((script) => has(pack, script)) || existsSync(join(dirname(file), "binding.gyp"))) return false;
  try {
    const lock = JSON.parse(readFileSync(join(dirname(file), "package-lock.json"), "utf8"));
    return lock.lockfileVersion >= 2 && Object.keys(lock.packages).every((path) => path === "");
  } catch {
    return false;
  }
}

const has = (pack, script) => typeof scripts(pack)[script] === "string";
const scripts = (pack) => (typeof pack.scripts === "object" && pack.scripts !== null ? pack.scripts : {});
const answers = {
  /** The version, then what holds of the package, a word a line; or why it cannot be built. */
  facts(pack) {
    checkEngine(pack);
    const words = [
      ...["heroku-postbuild", "build"].filter((script) => has(pack, script)).map((script) => `script-${script}`),
      ...(Object.keys(pack.devDependencies ?? {}).length > 0 ? ["dev-dependencies"] : []),
      ...(isBare(pack) ? ["bare"] : []),
    ];
    return words.join("\n");
  },
  start: (pack) => (has(pack, "start") || existsSync(join(dirname(file), "server.js")) ? "npm start" : ""),
};

function checkEngine(pack) {
  const wanted = pack.engines?.node;
  if (typeof wanted !== "string" || wanted.trim() === "") return;
  const { satisfies, validRange } = semver();
  if (validRange(wanted) === null) {
    warn(`engines.node in package.json is no range of versions: ${JSON.stringify(wanted).slice(0, 80)}`);
    process.exit(1);
  }
  if (satisfies(process.versions.node, wanted)) return;
  warn(`package.json asks for Node.js ${wanted} (engines.node); this stack has ${process.versions.node}.`);
  warn("Allow that version in engines.node, or build the app with a Dockerfile.");
  process.exit(1);
}

if (question === "facts") process.stdout.write(`${process.version}\n`);
const answer = Object.hasOwn(answers, question) ? answers[question](read()) : process.exit(2);
process.stdout.write(`${answer}\n`);

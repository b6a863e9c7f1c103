// Reads package.json for the buildpack's shell programs: `package.mjs FILE check|has-script NAME|has-dev-dependencies|start`.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const [file, question, name] = process.argv.slice(2);
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

const scripts = (pack) => (typeof pack.scripts === "object" && pack.scripts !== null ? pack.scripts : {});
const answers = {
  check(pack) {
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
  },
  "has-script": (pack) => (typeof scripts(pack)[name] === "string" ? "yes" : "no"),
  "has-dev-dependencies": (pack) => (Object.keys(pack.devDependencies ?? {}).length > 0 ? "yes" : "no"),
  start: (pack) =>
    typeof scripts(pack).start === "string" || existsSync(join(dirname(file), "server.js")) ? "npm start" : "",
};

const answer = Object.hasOwn(answers, question) ? answers[question](read()) : process.exit(2);
if (answer !== undefined) process.stdout.write(`${answer}\n`);

// The smallest Debian 12 that a person could start with: base system, Node, npm, git, and a Go of Debian's next release, from the archives
// that this machine itself uses.
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { debianSources } from "../../images/host/apt-sources.ts";
import { bootstrap } from "../../images/host/tree.ts";
import { machineInstallers } from "../../images/installers.ts";
import { passSettings, ROOT_BASE } from "./settings.ts";

const SUITE = "bookworm";
/** The oldest release with a Go that the lab's lifecycle is built by. */
const NEWER = "trixie";
const GO = "golang-1.24-go";
const PACKAGES = ["nodejs", "npm", "git", "ca-certificates"];

export async function makeRoot(options: {
  folder: string;
  go: boolean;
  say: (line: string) => void;
  signal: AbortSignal;
}): Promise<string> {
  const { folder, go, say, signal } = options;
  const root = join(folder, "root");
  const workDirectory = join(folder, "making");
  await mkdir(workDirectory, { recursive: true });
  const machine = await machineInstallers({ directory: workDirectory, signal });
  const sources = await debianSources({ suite: SUITE, components: ["main"] });
  const environment = { ...machine.proxies, ...ROOT_BASE };
  await bootstrap({
    ...{ root, workDirectory, suite: SUITE, architecture: "amd64", packages: PACKAGES, dpkgPaths: [] },
    ...{ sources, apt: machine.apt, say, run: { environment, signal } },
  });
  await rm(join(root, "etc/apt/apt.conf.d/99mmdebstrap"), { force: true });
  await passSettings(root, machine, signal);
  if (go) await installGo(root, sources, environment, signal);
  await rm(workDirectory, { recursive: true, force: true });
  return root;
}

/** Of the next release nothing but Go, so that all else is as on a Debian 12 that somebody has just set up. */
async function installGo(
  root: string,
  sources: readonly string[],
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<void> {
  const source = sources.find((line) => line.includes(` ${SUITE} `));
  if (source === undefined) throw new Error(`this machine's apt has no source of Debian ${SUITE} itself`);
  const list = join(root, "etc/apt/sources.list.d/newer.list");
  const preferences = join(root, "etc/apt/preferences.d/newer");
  await writeFile(list, `${source.replace(` ${SUITE} `, ` ${NEWER} `)}\n`);
  await writeFile(
    preferences,
    `Package: *\nPin: release n=${NEWER}\nPin-Priority: -1\n\nPackage: golang-1.*\nPin: release n=${NEWER}\nPin-Priority: 500\n`,
  );
  const apt = async (...argv: string[]) => {
    await exec(["chroot", root, "apt-get", "-q", ...argv], { env, signal, timeoutMs: 600_000 });
  };
  await apt("update");
  await apt("install", "-y", "--no-install-recommends", GO);
  await rm(list);
  await rm(preferences);
  await apt("update");
}

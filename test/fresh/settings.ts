// How this machine reaches registries, as files and variables of a fresh root: what a person would set up on a new machine by hand.
import { cp, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { exec } from "#lib/exec.ts";
import { readText } from "#lib/files.ts";
import { CA_FILE_VARIABLES, certificatesOf, type Installers, installerVariables } from "../../images/installers.ts";

const BUNDLE = "/etc/ssl/certs/ca-certificates.crt";
/** Of every program in the root. */
export const ROOT_BASE = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/root",
  LC_ALL: "C.UTF-8",
  DEBIAN_FRONTEND: "noninteractive",
} as const;
const BEGIN = "-----BEGIN";

/** Variables of the root's first process. Each that names a file of authorities names the root's bundle, which has them all. */
export function rootEnvironment(variables: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(installerVariables(variables)).filter(
    ([name]) =>
      !/^(PATH|HOME|XDG_CONFIG_HOME|SSL_CERT_DIR|PIP_CONFIG_FILE|GOENV)$|^npm_config_(user|global)config$/i.test(name),
  );
  const files = new Set<string>([...CA_FILE_VARIABLES, "GIT_SSL_CAPATH"]);
  return {
    ...Object.fromEntries(kept.map(([name, value]) => [name, files.has(name) ? BUNDLE : value])),
    ...ROOT_BASE,
    TERM: variables["TERM"] ?? "dumb",
  };
}

/** npm's settings of a file, the paths of authorities in it those of the root. */
export const npmrcOfRoot = (text: string): string =>
  text
    .split("\n")
    .filter((line) => !/^\s*(prefix|cache|nodedir|globalconfig|userconfig)\s*=/.test(line))
    .map((line) => line.replace(/^(\s*cafile\s*=).*/, `$1${BUNDLE}`))
    .join("\n");

export async function passSettings(root: string, machine: Installers, signal: AbortSignal): Promise<void> {
  const home = process.env["HOME"] ?? "/root";
  const write = async (path: string, text: string) => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  };
  await write("etc/resolv.conf", (await readText("/etc/resolv.conf")) ?? "");
  await write("etc/hosts", (await readText("/etc/hosts")) ?? "127.0.0.1 localhost\n");
  // Debian's way: one file for each, which update-ca-certificates then puts into the bundle.
  const own = certificatesOf([(await readText(machine.caFile ?? BUNDLE)) ?? ""])
    .split(BEGIN)
    .slice(1);
  const known = (await readText(join(root, BUNDLE))) ?? "";
  const added = own.filter((pem) => !known.includes(pem.trim()));
  for (const [index, pem] of added.entries())
    await write(`usr/local/share/ca-certificates/machine-${index}.crt`, `${BEGIN}${pem}`);
  if (added.length > 0)
    await exec(["chroot", root, "update-ca-certificates"], { env: ROOT_BASE, signal, timeoutMs: 120_000 });
  const asked = await exec(["npm", "config", "get", "globalconfig"], { env: machine.environment, signal }).catch(
    () => undefined,
  );
  const npmrc = [asked?.stdout.trim() ?? "", process.env["npm_config_userconfig"] ?? join(home, ".npmrc")];
  const texts = await Promise.all(npmrc.map((path) => readText(path).catch(() => undefined)));
  await write("root/.npmrc", npmrcOfRoot(texts.map((text) => text ?? "").join("\n")));
  const pip = await readText("/etc/pip.conf");
  if (pip !== undefined) await write("etc/pip.conf", pip.replace(/^(\s*cert\s*=).*/gm, `$1 ${BUNDLE}`));
  const go = join(home, ".config/go/env");
  if ((await readText(go)) !== undefined) {
    await mkdir(join(root, "root/.config/go"), { recursive: true });
    await cp(go, join(root, "root/.config/go/env"));
  }
  const apt = machine.apt.filter((setting) => !/::CaInfo=/i.test(setting));
  if (apt.length > 0)
    await write("etc/apt/apt.conf.d/80machine", apt.map((setting) => `${setting.replace("=", ' "')}";\n`).join(""));
}

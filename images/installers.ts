// What package installers of a build take from this machine, so that they reach what this machine reaches: proxies, registries, and
// one file with every certificate authority that any of its settings trusts. A setting that names a missing file is said, not dropped.
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { readText } from "#lib/files.ts";

export interface Installers {
  /** Environment of npm and other installers that run on this machine. */
  environment: NodeJS.ProcessEnv;
  /** Proxies alone, for programs whose environment is otherwise fixed. */
  proxies: NodeJS.ProcessEnv;
  /** Of apt, as `Name=value`. */
  apt: readonly string[];
  /** Everything trusted, one PEM file of this build; undefined when this machine trusts what Debian does. */
  caFile: string | undefined;
}

/** Each names a file of certificate authorities. */
export const CA_FILE_VARIABLES = [
  "NODE_EXTRA_CA_CERTS",
  "SSL_CERT_FILE",
  "PIP_CERT",
  "REQUESTS_CA_BUNDLE",
  "CURL_CA_BUNDLE",
  "GIT_SSL_CAINFO",
  "npm_config_cafile",
] as const;
const SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt";
const PROXIES = /^(https?|ftp|all|no)_proxy$/i;
/** npm sets dozens of its own for what it runs; these say where and how to fetch. */
const NPM =
  /^npm_config_(registry|cafile|ca|cert|key|strict[-_]ssl|proxy|https?[-_]proxy|noproxy|userconfig|globalconfig|fetch[-_].*|@.+:registry|\/\/.+)$/i;
const PIP =
  /^PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|PROXY|CERT|CLIENT_CERT|TIMEOUT|DEFAULT_TIMEOUT|RETRIES|CONFIG_FILE)$/i;
const OTHERS =
  /^(PATH|HOME|XDG_CONFIG_HOME|NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|GIT_SSL_CA(INFO|PATH)|GO(PROXY|SUMDB|NOSUMDB|NOPROXY|PRIVATE|INSECURE|FLAGS|TOOLCHAIN|ENV|AUTH)|BUNDLE_.+|GEM_SOURCE)$/;

/** Of a process's variables, those that an installer takes. Programs of the tree come last in PATH: they are not this machine's. */
export function installerVariables(variables: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const taken = Object.entries(variables).filter(([name]) =>
    [PROXIES, NPM, PIP, OTHERS].some((pattern) => pattern.test(name)),
  );
  const path = (variables["PATH"] ?? "").split(":");
  const isTrees = (folder: string) => folder.includes("/node_modules/");
  const PATH = [...path.filter((folder) => !isTrees(folder)), ...path.filter(isTrees)].join(":");
  return { ...Object.fromEntries(taken), PATH, LC_ALL: "C.UTF-8" };
}

/** Settings of /etc/pip.conf and the like as the variables that say the same; sections of other commands are left out. */
export function pipSettings(text: string): Record<string, string> {
  const found: Record<string, string> = {};
  let section = "";
  let name = "";
  for (const line of text.split("\n")) {
    const more = /^\s+(\S.*)$/.exec(line)?.[1];
    if (/^\s*([#;]|$)/.test(line)) continue;
    if (more !== undefined && name !== "") {
      found[name] = `${found[name]} ${more.trim()}`.trim();
      continue;
    }
    section = /^\[([^\]]+)\]/.exec(line)?.[1] ?? section;
    const [, key = "", value = ""] = /^([A-Za-z-]+)\s*[=:]\s*(.*)$/.exec(line) ?? [];
    const variable = `PIP_${key.toUpperCase().replaceAll("-", "_")}`;
    name = (section === "global" || section === "install") && PIP.test(variable) ? variable : "";
    if (name !== "") found[name] = value.trim();
  }
  return found;
}

const APT =
  /^(Acquire::https?::(?:\S+::)?(?:Proxy|Proxy-Auto-Detect|CaInfo|CaPath|SslCert|SslKey|Verify-Peer|Verify-Host|Timeout)) "(.*)";$/gim;

/** Of `apt-config dump`, how archives are reached. */
export function aptSettings(dump: string): string[] {
  return [...dump.matchAll(APT)].filter(([, , value]) => value !== "").map(([, name, value]) => `${name}=${value}`);
}

/** PEM certificates of several files, each once. */
export function certificatesOf(texts: readonly string[]): string {
  const pattern = /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[\s\S]+?-----END (?:TRUSTED )?CERTIFICATE-----/g;
  return `${[...new Set(texts.flatMap((text) => text.match(pattern) ?? []))].join("\n")}\n`;
}

/** Of a build that asks nobody. */
export const noInstallers: Installers = { environment: {}, proxies: {}, apt: [], caFile: undefined };

export interface MachineOptions {
  variables?: NodeJS.ProcessEnv;
  /** Where this build may write its file of authorities. */
  directory: string;
  signal: AbortSignal;
}

export async function machineInstallers(options: MachineOptions): Promise<Installers> {
  const { variables = process.env, directory, signal } = options;
  const taken = { ...(await pipOfFiles(variables)), ...installerVariables(variables) };
  const asked = async (argv: string[]): Promise<string> =>
    (await exec(argv, { env: taken, signal, timeoutMs: 20_000 }).catch(() => ({ stdout: "" }))).stdout.trim();
  const apt = aptSettings(await asked(["apt-config", "dump"]));
  const cafile = await asked(["npm", "config", "get", "cafile"]);
  const named: [string, string][] = CA_FILE_VARIABLES.map((name) => [name, taken[name] ?? ""]);
  if (cafile !== "" && cafile !== "null") named.push(["npm's cafile", cafile]);
  for (const setting of apt) {
    const [, value] = /::CaInfo=(.+)$/i.exec(setting) ?? [];
    if (value !== undefined) named.push(["apt's CaInfo", value]);
  }
  const texts = [(await readText(SYSTEM_BUNDLE)) ?? ""];
  for (const [name, path] of named) if (path !== "") texts.push(...(await authorities(name, path)));
  const pem = certificatesOf(texts);
  const isNamed = named.some(([, path]) => path !== "" && path !== SYSTEM_BUNDLE);
  const caFile = isNamed ? join(directory, "authorities.pem") : undefined;
  if (caFile !== undefined) await writeFile(caFile, pem, { mode: 0o644 });
  const proxies = Object.fromEntries(Object.entries(taken).filter(([name]) => PROXIES.test(name)));
  if (caFile === undefined) return { environment: taken, proxies, apt, caFile };
  // npm trusts nothing but its cafile when it has one, from wherever: Node's own setting would not be asked.
  const others = Object.entries(taken).filter(([name]) => !/^npm_config_cafile$/i.test(name));
  return {
    environment: {
      ...Object.fromEntries(others),
      NODE_EXTRA_CA_CERTS: caFile,
      SSL_CERT_FILE: caFile,
      PIP_CERT: caFile,
      npm_config_cafile: caFile,
    },
    proxies,
    apt: [...apt.filter((setting) => !/::CaInfo=/i.test(setting)), `Acquire::https::CaInfo=${caFile}`],
    caFile,
  };
}

/** A file, or every certificate in a folder. */
async function authorities(name: string, path: string): Promise<string[]> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined)
    throw new Error(`${name} names ${path}, which is not there: correct it or unset it, then start the build again`);
  if (!found.isDirectory()) return [await readFile(path, "utf8")];
  const files = (await readdir(path)).filter((each) => /\.(pem|crt|cer|\d+)$/.test(each));
  return await Promise.all(files.map((each) => readFile(join(path, each), "utf8").catch(() => "")));
}

async function pipOfFiles(variables: NodeJS.ProcessEnv): Promise<Record<string, string>> {
  const home = variables["HOME"] ?? "/root";
  const own = variables["PIP_CONFIG_FILE"];
  const files = [
    "/etc/pip.conf",
    join(home, ".pip/pip.conf"),
    join(variables["XDG_CONFIG_HOME"] || join(home, ".config"), "pip/pip.conf"),
    ...(own === undefined ? [] : [own]),
  ];
  const texts = await Promise.all(files.map(async (file) => (await readText(file).catch(() => "")) ?? ""));
  return Object.assign({}, ...texts.map(pipSettings));
}

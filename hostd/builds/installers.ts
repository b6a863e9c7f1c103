// What package installers of a build get of the operator's settings: variables, and two files of authorities, ours alone and ours with
// those of the image. They are there while the build runs, and no part of what it makes.
import type { BuildSpec } from "#api/builds.ts";
import { isFault } from "#api/fault.ts";
import { singleFile } from "./archive.ts";
import type { BuildEngine } from "./engine.ts";
import { BuildFailure } from "./failure.ts";

type Settings = BuildSpec["installers"];

export interface InstallerFiles {
  own: string;
  bundle: string;
}

/** Where images keep what they trust: Debian and Alpine, Red Hat, BSD's way. */
const BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
] as const;
const LINE_LOOKED_AT = 4_096;
const BUNDLE_MAX_BYTES = 8 << 20;
/** For a Dockerfile that declares it; there is no file that would not become part of its image. */
export const CA_ARG = "FLYNN_BUILD_CA";
/** Docker knows them without a declaration, and keeps them out of the image's history. */
const PROXY_ARGS = /^(https?|ftp|all|no)_proxy$/i;

/** Files of authorities by what each installer calls them. `folder`: where they are in the build's container. */
export function installerVariables(settings: Settings, folder: string): Record<string, string> {
  if (settings === undefined) return {};
  const { ca, env } = settings;
  if (ca === undefined) return { ...env };
  const [own, bundle] = [`${folder}/own.pem`, `${folder}/bundle.pem`];
  return {
    NODE_EXTRA_CA_CERTS: own,
    SSL_CERT_FILE: bundle,
    PIP_CERT: bundle,
    REQUESTS_CA_BUNDLE: bundle,
    CURL_CA_BUNDLE: bundle,
    GIT_SSL_CAINFO: bundle,
    npm_config_cafile: bundle,
    YARN_HTTPS_CA_FILE_PATH: bundle,
    CARGO_HTTP_CAINFO: bundle,
    BUNDLE_SSL_CA_CERT: bundle,
    ...env,
  };
}

/** The files for a container that exists, undefined without authorities of the operator. */
export async function installerFiles(
  settings: Settings,
  { engine, container, signal }: { engine: Pick<BuildEngine, "get">; container: string; signal: AbortSignal },
): Promise<InstallerFiles | undefined> {
  const own = settings?.ca;
  if (own === undefined) return undefined;
  for (const path of BUNDLES) {
    const image = await readText(engine, container, path, signal);
    if (image !== undefined) return { own, bundle: `${image.trimEnd()}\n${own}` };
  }
  return { own, bundle: own };
}

async function readText(
  engine: Pick<BuildEngine, "get">,
  container: string,
  path: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    const archive = await engine.get(container, path, signal);
    const { body } = await singleFile(archive, { what: path, maxBytes: BUNDLE_MAX_BYTES });
    const chunks: Buffer[] = [];
    for await (const chunk of body) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString("utf8");
  } catch (error) {
    signal.throwIfAborted();
    if (isFault(error, "not-found") || error instanceof BuildFailure) return undefined; // a link, or none: the next place
    throw error;
  }
}

/** `ARG A B=x CA`. By words: the text is a tenant's. */
function asksForCa(line: string): boolean {
  const [first = "", ...names] = line.trim().slice(0, LINE_LOOKED_AT).split(/\s+/);
  return first.toUpperCase() === "ARG" && names.some((name) => name.split("=", 1)[0] === CA_ARG);
}

/** Build arguments of a Dockerfile: proxies, and the authorities' text where it asks for it. The app's own count more. */
export function dockerfileArgs(
  settings: Settings,
  { args, text }: { args: Readonly<Record<string, string>>; text: string },
): Record<string, string> {
  const proxies = Object.entries(settings?.env ?? {}).filter(([name]) => PROXY_ARGS.test(name));
  const ca: [string, string][] =
    text.split("\n").some(asksForCa) && settings?.ca !== undefined ? [[CA_ARG, settings.ca]] : [];
  return { ...Object.fromEntries([...proxies, ...ca]), ...args };
}

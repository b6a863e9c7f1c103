// What the operator gives package installers of every build: authorities, proxies, registry settings. Read once, when control starts.
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { BuildSpec } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import type { ControlConfig } from "../config.ts";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

export function installersOf(
  config: Pick<ControlConfig, "buildCa" | "buildProxy" | "buildNoProxy" | "buildEnv">,
): BuildSpec["installers"] {
  const { buildCa, buildProxy, buildNoProxy, buildEnv } = config;
  const env: Record<string, string> = {};
  const both = (name: string, value: string) => {
    if (value !== "") Object.assign(env, { [name.toLowerCase()]: value, [name.toUpperCase()]: value });
  };
  both("http_proxy", buildProxy);
  both("https_proxy", buildProxy);
  both("no_proxy", buildNoProxy);
  for (const line of buildEnv) {
    const at = line.indexOf("=");
    env[line.slice(0, at)] = line.slice(at + 1);
  }
  if (buildCa === "" && Object.keys(env).length === 0) return undefined;
  return { ...(buildCa === "" ? {} : { ca: certificates(buildCa) }), env };
}

function certificates(path: string): string {
  const found = read(path).match(CERTIFICATE) ?? [];
  for (const pem of found) {
    try {
      new X509Certificate(pem);
    } catch (cause) {
      throw new Fault("invalid", `${path} holds a certificate that cannot be read (setting buildCa)`, { cause });
    }
  }
  if (found.length === 0)
    throw new Fault(
      "invalid",
      `${path} holds no certificate in PEM (setting buildCa): give flynn up --build-ca /path/of/ca.pem`,
    );
  return `${found.join("\n")}\n`;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Fault("invalid", `${path} cannot be read (setting buildCa): give flynn up --build-ca /path/of/ca.pem`, {
      cause,
    });
  }
}

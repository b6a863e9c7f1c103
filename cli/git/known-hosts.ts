// The cluster's SSH host keys in the user's known_hosts (sshd(8)), taken from the API, whose certificate is pinned: so the first
// connection asks nothing and trusts nobody else.
import { appendFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { readText } from "#lib/files.ts";
import { homeOf } from "../clusters/home.ts";

export interface SshHost {
  host: string;
  port: number;
  /** `TYPE BASE64` each. */
  hostKeys: readonly string[];
}

/** The file, when something was added to it. */
export async function knowHost({ host, port, hostKeys }: SshHost, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const file = join(homeOf(env), ".ssh", "known_hosts");
  const before = (await readText(file)) ?? "";
  const known = new Set(before.split("\n").map((line) => line.trim()));
  const lines = hostKeys
    .filter((key) => /^[a-z0-9@.-]+ [A-Za-z0-9+/=]+$/.test(key))
    .map((key) => `${port === 22 ? host : `[${host}]:${port}`} ${key}`)
    .filter((line) => !known.has(line));
  if (lines.length === 0) return undefined;
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await appendFile(file, `${before === "" || before.endsWith("\n") ? "" : "\n"}${lines.join("\n")}\n`, { mode: 0o600 });
  return file;
}

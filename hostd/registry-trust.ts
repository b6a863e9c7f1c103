// Lets Docker trust the cluster's registry: its CA, and this host's own certificate to show. Docker reads these files at each pull.
import { join } from "node:path";
import { readText, writeFileAtomic } from "#lib/files.ts";

export interface RegistryTrust {
  certsDir: string;
  registry: string;
  identity: { certificate: string; key: string; caPem: string };
}

/** host[:port], and so a directory name of one level. */
const REGISTRY = /^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:\d{1,5})?$/;

export async function trustRegistry({ certsDir, registry, identity }: RegistryTrust): Promise<void> {
  if (!REGISTRY.test(registry)) throw new Error(`registry ${JSON.stringify(registry)} is not host:port`);
  const files: [string, string, number][] = [
    ["ca.crt", identity.caPem, 0o644],
    ["client.cert", identity.certificate, 0o644],
    ["client.key", identity.key, 0o600],
  ];
  for (const [name, text, mode] of files) {
    const path = join(certsDir, registry, name);
    if ((await readText(path)) !== text) await writeFileAtomic(path, text, { mode });
  }
}

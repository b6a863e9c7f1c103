// How a program becomes a member: make a key, trade a single-use token for a certificate, keep both in its state directory.
// Used by hostd, the router and the boot server; the private key never leaves this machine.
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { connect } from "node:tls";
import { readText, writeFileAtomic } from "#lib/files.ts";
import { backoffMs } from "#lib/retry.ts";
import { deadline, sleep } from "#lib/time.ts";
import { certificatePin, newCsr, newKeyPem } from "#lib/x509.ts";
import { createClient } from "./client.ts";
import { Fault, isFault } from "./fault.ts";
import { type HostFacts, type JoinRole, joinCluster } from "./hosts.ts";

export interface Identity {
  id: string;
  role: JoinRole;
  certificate: string;
  key: string;
  caPem: string;
  expiresAt: string;
  clusterRange: string;
  subnet?: string;
}

export interface JoinOptions {
  directory: string;
  controlUrls: readonly string[];
  caPem: string;
  role: JoinRole;
  name: string;
  token?: string;
  facts?: HostFacts;
  addresses?: string[];
  signal: AbortSignal;
  /** Told each time an attempt fails and will be repeated. */
  onRetry?: (error: unknown) => void;
}

const FILES = { identity: "identity.json", key: "key.pem" } as const;

/** The identity kept in `directory`, or undefined when there is none, it is torn, or its certificate has expired. */
export async function loadIdentity(directory: string, nowMs = Date.now()): Promise<Identity | undefined> {
  const [text, key] = await Promise.all([
    readText(join(directory, FILES.identity)),
    readText(join(directory, FILES.key)),
  ]);
  if (text === undefined || key === undefined) return undefined;
  try {
    const identity = { ...(JSON.parse(text) as Omit<Identity, "key">), key };
    return Date.parse(identity.expiresAt) > nowMs &&
      new X509Certificate(identity.certificate).checkPrivateKey(createPrivateKey(key))
      ? identity
      : undefined;
  } catch {
    return undefined;
  }
}

/** The kept identity, or a new one by joining. Retries for as long as control is away; a refused token is final. */
export async function ensureIdentity(options: JoinOptions): Promise<Identity> {
  const { directory, controlUrls, caPem, role, token, signal, onRetry } = options;
  const kept = await loadIdentity(directory);
  if (kept && kept.role === role && kept.caPem.trim() === caPem.trim()) return kept;
  if (token === undefined) throw new Fault("unauthenticated", `join as ${role} needs a join token`);
  const key = newKeyPem();
  const csr = await newCsr(key, options.name);
  const client = createClient({ urls: controlUrls, caPem, timeoutMs: 10_000 });
  try {
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted();
      try {
        const body = { token, role, name: options.name, csr, facts: options.facts, addresses: options.addresses };
        const reply = await client.call(joinCluster, { body, signal });
        const identity: Identity = { ...reply, role, key };
        const { key: _, ...rest } = identity;
        await writeFileAtomic(join(directory, FILES.key), key, { mode: 0o600 });
        await writeFileAtomic(join(directory, FILES.identity), JSON.stringify(rest), { mode: 0o600 });
        return identity;
      } catch (error) {
        if (isFault(error) && !error.retry) throw error;
        onRetry?.(error);
        await sleep(backoffMs(attempt, 300, 5_000), signal);
      }
    }
  } finally {
    client.close();
  }
}

/** Fetches the CA that `url` presents and returns its PEM if its pin is `pin`; else a Fault: somebody is in between. */
export async function fetchPinnedCa(url: string, pin: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const chain = await deadline(presentedChain(hostname, Number(port || 443)), 10_000, `connect to ${url}`).catch(
    (cause: unknown) => {
      throw new Fault("unavailable", `connect to ${url}`, { cause });
    },
  );
  const found = chain.find((pem) => certificatePin(pem) === pin);
  if (found === undefined)
    throw new Fault(
      "unauthenticated",
      `the server at ${url} does not present the certificate authority with pin ${pin}`,
    );
  return found;
}

function presentedChain(host: string, port: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    // The chain is only read here, and trusted only if the pin matches.
    const socket = connect({ host, port, rejectUnauthorized: false }, () => {
      const pems: string[] = [];
      let at: ReturnType<typeof socket.getPeerCertificate> | undefined = socket.getPeerCertificate(true);
      for (let n = 0; at?.raw && n < 5; n++) {
        pems.push(new X509Certificate(at.raw).toString());
        const issuer: typeof at | undefined = (at as { issuerCertificate?: typeof at }).issuerCertificate;
        at = issuer === at ? undefined : issuer;
      }
      socket.destroy();
      resolve(pems);
    });
    socket.on("error", reject);
  });
}

/** The CA certificate in a file, as PEM. */
export async function readCa(path: string): Promise<string> {
  return await readFile(path, "utf8").catch((cause: unknown) => {
    throw new Fault("invalid", `read the cluster CA from ${path}`, { cause });
  });
}

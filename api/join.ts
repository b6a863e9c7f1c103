// How a program becomes a member: make a key, trade a single-use token for a certificate, keep both in its state directory.
// Used by hostd, the router and the boot server; the private key never leaves this machine, and is on disk before it is asked
// for, so that whoever crashes before the answer asks again as the same one.
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { connect } from "node:tls";
import { readText, syncDirectory, writeFileAtomic } from "#lib/files.ts";
import { backoffMs } from "#lib/retry.ts";
import { deadline, sleep } from "#lib/time.ts";
import { certificatePin, newCsr, newKeyPem } from "#lib/x509.ts";
import { createClient } from "./client.ts";
import { Fault, isFault } from "./fault.ts";
import type { HostFacts } from "./host-agents.ts";
import { type JoinRole, joinCluster } from "./members.ts";
import type { Tags } from "./schema.ts";
import type { TpmQuote } from "./tpm.ts";
import { ownHello, type PartName } from "./version.ts";

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
  tags?: Tags;
  /** A quote of this machine's TPM over the token, where one is asked for. */
  quote?: (token: string) => Promise<TpmQuote>;
  /** Joins though there is a kept identity that looks good; that one stays until there is another. */
  anew?: boolean;
  signal: AbortSignal;
  /** Told each time an attempt fails and will be repeated. */
  onRetry?: (error: unknown) => void;
  nowMs?: () => number;
}

const PART_OF: Record<JoinRole, PartName> = { host: "hostd", router: "router", boot: "boot-server" };
const FILES = { identity: "identity.json", key: "key.pem", nextKey: "key.next.pem" } as const;

/** The identity kept in `directory`, or undefined when there is none, it is torn, or its certificate has expired. */
export async function loadIdentity(directory: string, nowMs = Date.now()): Promise<Identity | undefined> {
  const kept = await readIdentity(directory);
  return kept && Date.parse(kept.expiresAt) > nowMs ? kept : undefined;
}

async function readIdentity(directory: string): Promise<Identity | undefined> {
  const [text, key, nextKey] = await Promise.all(
    [FILES.identity, FILES.key, FILES.nextKey].map((name) => readText(join(directory, name))),
  );
  if (text === undefined) return undefined;
  let rest: Omit<Identity, "key">;
  try {
    rest = JSON.parse(text) as Omit<Identity, "key">;
  } catch {
    return undefined;
  }
  if (isPair(rest.certificate, key)) return { ...rest, key };
  if (!isPair(rest.certificate, nextKey)) return undefined;
  await adoptNextKey(directory); // a crash came between the two steps of saveIdentity
  return { ...rest, key: nextKey };
}

function isPair(certificate: string, key: string | undefined): key is string {
  try {
    return key !== undefined && new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}

/** The key to ask a certificate for: the one already asked for when the answer never came, else a fresh one, kept. */
export async function nextKey(directory: string): Promise<string> {
  const path = join(directory, FILES.nextKey);
  const kept = await readText(path);
  try {
    if (kept !== undefined && createPrivateKey(kept)) return kept;
  } catch {
    // A damaged key was never certified: another one takes its place.
  }
  const key = newKeyPem();
  await writeFileAtomic(path, key, { mode: 0o600 });
  return key;
}

/** Makes an identity of `nextKey` the kept one; a crash at any point leaves either the old pair or the new one. */
export async function saveIdentity(directory: string, identity: Identity): Promise<void> {
  const { key, ...rest } = identity;
  if (!isPair(identity.certificate, key)) throw new Fault("internal", "the certificate is for another key");
  await writeFileAtomic(join(directory, FILES.identity), JSON.stringify(rest), { mode: 0o600 });
  await adoptNextKey(directory);
}

async function adoptNextKey(directory: string): Promise<void> {
  await rename(join(directory, FILES.nextKey), join(directory, FILES.key)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error; // an earlier attempt got this far
  });
  await syncDirectory(directory);
}

/** The kept identity, or a new one by joining. Retries for as long as control is away; a refused token is final. */
export async function ensureIdentity(options: JoinOptions): Promise<Identity> {
  const { directory, controlUrls, caPem, role, token, signal, onRetry, nowMs = Date.now } = options;
  const kept = await readIdentity(directory);
  const isOurs = kept?.role === role && kept.caPem.trim() === caPem.trim();
  const now = nowMs();
  const isGood = isOurs && Date.parse(kept.expiresAt) > now;
  if (isGood && !options.anew) return kept;
  const expired = isOurs && !isGood ? expiryText(kept, now) : undefined;
  if (token === undefined) throw new Fault("unauthenticated", expired ?? `join as ${role} needs a join token`);
  const client = createClient({ urls: controlUrls, caPem, timeoutMs: 10_000, hello: ownHello(PART_OF[role]) });
  const { name, facts, addresses, tags } = options;
  try {
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted();
      try {
        const key = await nextKey(directory);
        const tpm = await options.quote?.(token);
        const csr = await newCsr(key, options.name);
        const reply = await client.call(joinCluster, {
          body: { token, role, name, csr, facts, addresses, tags, ...(tpm === undefined ? {} : { tpm }) },
          signal,
        });
        const identity: Identity = { ...reply, role, key };
        await saveIdentity(directory, identity);
        return identity;
      } catch (error) {
        if (isFault(error) && !error.retry)
          throw expired === undefined ? error : new Fault(error.code, expired, { cause: error });
        onRetry?.(error);
        await sleep(backoffMs(attempt, 300, 5_000), signal);
      }
    }
  } finally {
    client.close();
  }
}

function expiryText({ role, id, expiresAt }: Identity, nowMs: number): string {
  const clock = new Date(nowMs).toISOString();
  return `the certificate of ${role} ${id} expired at ${expiresAt} (this machine's clock says ${clock}): make a join token for a ${role} (flynn host token, or POST /v1/join-tokens), put it into this program's configuration and start it again`;
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

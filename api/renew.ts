// Certificates are renewed when two thirds of their life are over, by a loop in the program that uses them: the new one is on
// disk before it is used, and control takes the old one until then, so that no crash and no lost answer locks a member out.
import { X509Certificate } from "node:crypto";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import { newCsr } from "#lib/x509.ts";
import type { Client } from "./client.ts";
import { type Identity, nextKey, saveIdentity } from "./join.ts";
import { renewMember } from "./members.ts";

export interface RenewalOptions {
  /** PEM of the certificate in use. */
  certificate: string;
  /** Gets and takes up a new one; returns its PEM. */
  renew: () => Promise<string>;
  signal: AbortSignal;
  /** Told each time a renewal fails and will be repeated. */
  onRetry?: (error: unknown, expiresAt: Date) => void;
  nowMs?: () => number;
  random?: () => number;
}

/** Looked at so often at least: timers do not count the time a machine sleeps, and its clock may be set. */
const LOOK_MS = 3_600_000;
/** Between two renewals at least, whatever the clocks say. */
const PAUSE_MS = 60_000;

/** When a certificate is to be renewed: after two thirds of its life, up to a twentieth later so that a fleet spreads out. */
export function renewalDueMs(certificatePem: string, random: () => number = Math.random): number {
  const { validFromDate, validToDate } = new X509Certificate(certificatePem);
  const lifeMs = validToDate.getTime() - validFromDate.getTime();
  return validFromDate.getTime() + lifeMs * (2 / 3 + random() / 20);
}

/** Renews in time, for as long as the signal lets it. Failures are repeated for ever: there is nothing better to do. */
export async function renewInTime(options: RenewalOptions): Promise<void> {
  const { renew, signal, onRetry, nowMs = Date.now, random } = options;
  let { certificate } = options;
  let dueMs = renewalDueMs(certificate, random);
  for (let failures = 0; !signal.aborted; ) {
    const leftMs = dueMs - nowMs();
    if (leftMs > 0) {
      await sleep(Math.min(leftMs, LOOK_MS), signal);
      continue;
    }
    try {
      certificate = await renew();
      dueMs = renewalDueMs(certificate, random);
      failures = 0;
      await sleep(PAUSE_MS, signal);
    } catch (error) {
      if (signal.aborted) return;
      onRetry?.(error, new X509Certificate(certificate).validToDate);
      await sleep(backoffMs(++failures, 1_000, PAUSE_MS), signal);
    }
  }
}

export interface KeepOptions extends Pick<RenewalOptions, "signal" | "onRetry" | "nowMs" | "random"> {
  identity: Identity;
  /** Where the identity is kept. */
  directory: string;
  client: Pick<Client, "call" | "useIdentity">;
  /** The new identity is on disk and the client uses it. */
  onRenewed?: (identity: Identity) => void;
}

/** Keeps a member's certificate good while the program runs. */
export async function keepIdentity(options: KeepOptions): Promise<void> {
  const { directory, client, onRenewed, signal } = options;
  let { identity } = options;
  const renew = async (): Promise<string> => {
    const key = await nextKey(directory);
    const csr = await newCsr(key, identity.id);
    const { certificate, expiresAt } = await client.call(renewMember, {
      params: { id: identity.id },
      body: { csr },
      signal,
      timeoutMs: 10_000,
    });
    const renewed: Identity = { ...identity, certificate, expiresAt, key };
    await saveIdentity(directory, renewed);
    identity = renewed;
    client.useIdentity(identity);
    onRenewed?.(identity);
    return certificate;
  };
  await renewInTime({ ...options, certificate: identity.certificate, renew });
}

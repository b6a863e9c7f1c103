// Control's own certificates: one for the API and its calls to hosts, one in files for the registries. Issued anew at each start,
// and by a loop in a control that runs for longer than two thirds of their life.
import { join } from "node:path";
import { renewInTime } from "#api/renew.ts";
import { writeFileAtomic } from "#lib/files.ts";
import type { Log } from "#lib/log.ts";
import type { TlsIdentity } from "../api-server.ts";
import { unlessFull } from "../store/paused.ts";
import type { Authority } from "./authority.ts";

export interface OwnOptions {
  authority: Pick<Authority, "caPem" | "issueControl">;
  addresses: readonly string[];
  /** Where the CA's certificate and the registries' pair lie. */
  directory: string;
  /** Given at a start, which a full disk does not keep from happening. */
  log?: Log;
}

/** Writes the registries' files and returns what control itself shows. */
export async function issueOwn({ authority, addresses, directory, log }: OwnOptions): Promise<TlsIdentity> {
  const [own, registry] = await Promise.all([authority.issueControl(addresses), authority.issueControl(addresses)]);
  const files = async () => {
    await writeFileAtomic(join(directory, "ca.pem"), authority.caPem);
    await writeFileAtomic(join(directory, "registry.crt"), registry.certificate);
    await writeFileAtomic(join(directory, "registry.key"), registry.key, { mode: 0o600 });
  };
  if (log === undefined) await files();
  else await unlessFull(log, "the registries' certificate", files());
  return own;
}

export interface KeepOwnOptions extends OwnOptions {
  identity: TlsIdentity;
  onRenewed: (identity: TlsIdentity) => Promise<void>;
  log: Log;
  signal: AbortSignal;
  nowMs?: () => number;
}

export async function keepOwn(options: KeepOwnOptions): Promise<void> {
  const { identity, onRenewed, log, signal, nowMs } = options;
  const renew = async (): Promise<string> => {
    const { authority, addresses, directory } = options;
    const next = await issueOwn({ authority, addresses, directory });
    await onRenewed(next);
    log.info("control has new certificates; `flynn up` starts the registries again with theirs");
    return next.certificate;
  };
  const onRetry = (error: unknown) => log.error({ err: error }, "control's certificates could not be issued anew");
  await renewInTime({ certificate: identity.certificate, renew, onRetry, signal, ...(nowMs ? { nowMs } : {}) });
}

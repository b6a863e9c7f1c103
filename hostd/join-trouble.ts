// An agent that is no member yet tells the boot server why, with the token of its boot: nobody else hears it (bootstrap/http/refusal.ts).
import { readFile } from "node:fs/promises";
import { isFault } from "#api/fault.ts";
import { causeChain } from "#lib/run.ts";

const AGAIN_MS = 60_000;
const ANSWER_MS = 5_000;

/** Where the boot server takes it, from the kernel's command line; undefined for a host that it did not boot. */
export function troubleUrl(cmdline: string): string | undefined {
  const [, base, token] = /(?:^|\s)ds=nocloud-net;s=(http:\/\/[^/\s]+)\/s\/([A-Za-z0-9_-]+)\//.exec(cmdline) ?? [];
  return base === undefined ? undefined : `${base}/e/${token}/trouble`;
}

/** One word for the boot doctor, and why in words. */
export function troubleOf(error: unknown): { code: string; text: string } {
  const text = causeChain(error).join(": ").replace(/\s+/g, " ").slice(0, 280);
  if (isFault(error, "incompatible")) return { code: "version", text };
  if (/not yet valid|has expired|CERT_NOT_YET_VALID|CERT_HAS_EXPIRED/i.test(text)) return { code: "clock", text };
  if (/self[- ]signed|unable to verify|unable to get|CERT_|issuer|altname/i.test(text))
    return { code: "certificate", text };
  if (isFault(error, "unauthenticated") || isFault(error, "forbidden")) return { code: "refused", text };
  return { code: "unreachable", text };
}

/** Told at most once a minute; that it could not be told harms nothing, since the join is tried again all the same. */
export function tellsTrouble({
  cmdline = "/proc/cmdline",
  nowMs = () => performance.now(),
} = {}): (error: unknown) => Promise<void> {
  let toldAtMs = Number.NEGATIVE_INFINITY;
  return async (error) => {
    if (nowMs() - toldAtMs < AGAIN_MS) return;
    toldAtMs = nowMs();
    const url = troubleUrl(await readFile(cmdline, "utf8").catch(() => ""));
    if (url === undefined) return;
    const { code, text } = troubleOf(error);
    await fetch(url, { method: "POST", body: `${code} ${text}`, signal: AbortSignal.timeout(ANSWER_MS) }).then(
      (answer) => answer.body?.cancel(),
      () => undefined,
    );
  };
}

// The TPM of this machine by tpm2-tools: which one it is, and its quote over a token. The key is made anew each time, from the TPM's own
// seed and a fixed template, and is the same each time (api/tpm.ts).
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { quoteNonce, type TpmQuote, tpmIdOf } from "#api/tpm.ts";
import { exec } from "#lib/exec.ts";

export interface TpmOptions {
  signal: AbortSignal;
  /** How tpm2-tools reach it; the kernel's resource manager unless given. */
  tcti?: string;
}

const ONE_MS = 60_000;
const TEMPLATE = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign";

export const readTpmId = (options: TpmOptions): Promise<string> =>
  withKey(options, async ({ area }) => tpmIdOf(await readFile(area)));

export function quote(token: string, options: TpmOptions): Promise<TpmQuote> {
  return withKey(options, async ({ run, key, area, directory }) => {
    const [attest, signature] = [join(directory, "attest"), join(directory, "signature")];
    await run(
      "tpm2_quote",
      "-c",
      key,
      "-l",
      "sha256:0,7",
      "-q",
      quoteNonce(token),
      "-g",
      "sha256",
      "-m",
      attest,
      "-s",
      signature,
    );
    const [a, m, s] = await Promise.all([area, attest, signature].map((file) => readFile(file, "base64")));
    return { key: a!, attest: m!, signature: s! };
  });
}

interface Made {
  run: (...argv: [string, ...string[]]) => Promise<unknown>;
  /** Files: the key's context, and its public area. */
  key: string;
  area: string;
  directory: string;
}

async function withKey<T>(
  { signal, tcti = "device:/dev/tpmrm0" }: TpmOptions,
  work: (made: Made) => Promise<T>,
): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-tpm-"));
  try {
    const env = { ...process.env, TPM2TOOLS_TCTI: tcti };
    const run: Made["run"] = async (...argv) => {
      await exec(argv, { timeoutMs: ONE_MS, signal, env });
      // Without a resource manager what was loaded stays, and a TPM holds three.
      await exec(["tpm2_flushcontext", "-t"], { timeoutMs: ONE_MS, signal, env });
    };
    const [key, area] = [join(directory, "key"), join(directory, "area")];
    await run("tpm2_createprimary", "-Q", "-C", "e", "-G", "ecc256:ecdsa-sha256:null", "-a", TEMPLATE, "-c", key);
    await run("tpm2_readpublic", "-Q", "-c", key, "-f", "tss", "-o", area);
    return await work({ run, key, area, directory });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

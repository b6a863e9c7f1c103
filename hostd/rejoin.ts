// A host that control has removed and that is then booted again holds a refused certificate on its state disk and a fresh token in
// its seed. The token it joined with is remembered by hash, so that a fresh one can be told from the spent one.
import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { readText, writeFileAtomic } from "#lib/files.ts";

const FILE = "joined-with";
const hash = (token: string): string => createHash("sha256").update(token).digest("hex");

export async function rememberToken(identityDir: string, token: string | undefined): Promise<void> {
  const path = join(identityDir, FILE);
  if (token !== undefined && (await readText(path)) === undefined)
    await writeFileAtomic(path, hash(token), { mode: 0o600 });
}

/** Gives the refused identity up if there is a token it was not made with; true when it did. */
export async function giveUpIdentity(identityDir: string, token: string | undefined): Promise<boolean> {
  const used = await readText(join(identityDir, FILE));
  if (token === undefined || used === undefined || used === hash(token)) return false;
  await rm(identityDir, { recursive: true, force: true });
  return true;
}

// Ed25519 over the exact bytes of manifest.json; the signature is base64 text in manifest.sig (format: images/README.md).
// Verification is pure. The private key is made on first use and readable by its owner only.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from "node:crypto";
import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { readText, writeFileAtomic } from "#lib/files.ts";
import { type Manifest, parseManifest } from "./manifest.ts";

export function signManifest(manifestBytes: Buffer, privateKey: KeyObject): string {
  return `${sign(null, manifestBytes, privateKey).toString("base64")}\n`;
}

/** The manifest, when `signature` is this key's over these bytes; else throws. Nothing is parsed before it is verified. */
export function verifyManifest(manifestBytes: Buffer, signature: string, publicKeyPem: string): Manifest {
  const text = /^([A-Za-z0-9+/]{86}==)\n?$/.exec(signature)?.[1];
  const key = createPublicKey(publicKeyPem);
  if (key.asymmetricKeyType !== "ed25519") throw new Error("image manifests are signed with ed25519 keys");
  if (text === undefined || !verify(null, manifestBytes, key, Buffer.from(text, "base64"))) {
    throw new Error("image manifest: the signature is not valid for this key");
  }
  return parseManifest(manifestBytes.toString("utf8"));
}

/** Reads the signing key, or makes it (0600) with its public half beside it as FILE.pub. */
export async function signingKey(file: string): Promise<{ privateKey: KeyObject; publicKeyPem: string }> {
  const existing = await readText(file);
  const pem = existing ?? (await createKey(file));
  const privateKey = createPrivateKey(pem);
  if (privateKey.asymmetricKeyType !== "ed25519") throw new Error(`signing key ${file} is not an ed25519 key`);
  const publicKeyPem = createPublicKey(privateKey).export({ type: "spki", format: "pem" }).toString();
  if ((await readText(`${file}.pub`)) !== publicKeyPem) await writeFileAtomic(`${file}.pub`, publicKeyPem);
  return { privateKey, publicKeyPem };
}

async function createKey(file: string): Promise<string> {
  const pem = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  await mkdir(dirname(file), { recursive: true });
  // "wx": two builds at once must not each believe in a key of their own.
  const handle = await open(file, "wx", 0o600);
  try {
    await handle.writeFile(pem);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return pem;
}

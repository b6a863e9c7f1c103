// Values that must not be readable from the database alone: sealed with AES-256-GCM under a key that lies beside it in a file
// of its own. An envelope names its key, so that keys can be changed: the file's last key seals, every key of it opens.
import { createCipheriv, createDecipheriv, createHash, createHmac, randomBytes } from "node:crypto";
import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "#api/fault.ts";
import { readText, writeFileAtomic } from "#lib/files.ts";

export interface Secrets {
  /** `v1.<key id>.<nonce, ciphertext and tag>`. The owner (`release <id>`) is bound in: an envelope moved to another does not open. */
  seal(plain: string, owner: string): string;
  /** Faults: `internal` when it was sealed with a key that is not here, for another owner, or was changed. */
  open(envelope: string, owner: string): string;
  /** True when the envelope is not of the newest key. */
  isOld(envelope: string): boolean;
  /** A digest that says whether two texts are the same, and nothing to who has only the database. */
  digest(text: string): string;
}

const VERSION = "v1";
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const ENVELOPE = /^v1\.([0-9a-f]{16})\.([A-Za-z0-9_-]{38,})$/;

/** Where the key is, below control's state directory. */
export const SEALING_DIRECTORY = "sealing";
const KEY_FILE = "keys";

/** Opens the key file in `directory`, or makes it: but never while `needed` names keys that only a lost file can have. */
export async function openSecrets(directory: string, needed: ReadonlySet<string> = new Set()): Promise<Secrets> {
  const path = join(directory, KEY_FILE);
  const kept = await readText(path);
  if (kept === undefined && needed.size > 0) throw lost(path, needed);
  if (kept === undefined) {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const made = randomBytes(KEY_BYTES);
    await writeFileAtomic(path, `${made.toString("base64url")}\n`, { mode: 0o600 });
    return secretsOf([made]);
  }
  await chmod(path, 0o600); // a copy put back from a backup may have become readable
  const keys = kept
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => Buffer.from(line, "base64url"));
  if (keys.length === 0 || keys.some(({ length }) => length !== KEY_BYTES))
    throw new Fault("internal", `the sealing key in ${path} is damaged: restore the file from a backup`);
  const missing = [...needed].filter((id) => !keys.some((key) => idOf(key) === id));
  if (missing.length > 0) throw lost(path, new Set(missing));
  return secretsOf(keys);
}

/** The last key seals; all of them open. */
export function secretsOf(keys: readonly Buffer[]): Secrets {
  const byId = new Map(keys.map((key) => [idOf(key), key]));
  const newest = keys.at(-1)!;
  const newestId = idOf(newest);
  const digestKey = createHmac("sha256", keys[0]!).update("flynn digest v1").digest();
  return {
    seal(plain, owner) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", newest, nonce).setAAD(boundTo(newestId, owner));
      const sealed = Buffer.concat([nonce, cipher.update(plain, "utf8"), cipher.final(), cipher.getAuthTag()]);
      return `${VERSION}.${newestId}.${sealed.toString("base64url")}`;
    },
    open(envelope, owner) {
      const [, id = "", body = ""] = ENVELOPE.exec(envelope) ?? [];
      const key = byId.get(id);
      if (key === undefined)
        throw new Fault("internal", `what ${owner} keeps sealed was sealed with a key that is not here`);
      const bytes = Buffer.from(body, "base64url");
      try {
        const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, NONCE_BYTES), {
          authTagLength: TAG_BYTES,
        })
          .setAAD(boundTo(id, owner))
          .setAuthTag(bytes.subarray(-TAG_BYTES));
        const plain = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES));
        return Buffer.concat([plain, decipher.final()]).toString("utf8");
      } catch {
        throw new Fault("internal", `what ${owner} keeps sealed was changed, or belongs to something else`);
      }
    },
    isOld: (envelope) => keyOf(envelope) !== newestId,
    digest: (text) => createHmac("sha256", digestKey).update(text).digest("hex"),
  };
}

/** The id of the key an envelope needs, or undefined when it is none. */
export const keyOf = (envelope: string): string | undefined => ENVELOPE.exec(envelope)?.[1];

const idOf = (key: Buffer): string =>
  createHash("sha256").update("flynn key id").update(key).digest("hex").slice(0, 16);

const boundTo = (keyId: string, owner: string): Buffer => Buffer.from(`${VERSION} ${keyId} ${owner}`);

function lost(path: string, ids: ReadonlySet<string>): Fault {
  return new Fault(
    "internal",
    `the state holds values sealed with key ${[...ids].join(", ")}, which is not in ${path}: put the file back from where it was kept with the backup`,
  );
}

// Private keys of certificates at rest: AES-256-GCM under a key in a file outside the database, bound to the record they belong
// to, so that a copy of the database alone tells nothing and a sealed key moved to another record opens nowhere.
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { closeSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { Fault } from "#api/fault.ts";

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export interface KeySeal {
  /** `owner` is what the text belongs to, such as the record's id; opening it takes the same. */
  seal(text: string, owner: string): string;
  /** Throws when the key file or the owner is another one. */
  open(sealed: string, owner: string): string;
}

/** The seal whose key is in `file`; made at the first use. */
export function keySeal(file: string): KeySeal {
  let key: Buffer | undefined;
  const theKey = () => (key ??= readOrMake(file));
  return {
    seal(text, owner) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", theKey(), nonce).setAAD(Buffer.from(owner));
      const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
      return Buffer.concat([nonce, sealed, cipher.getAuthTag()]).toString("base64");
    },
    open(sealed, owner) {
      const bytes = Buffer.from(sealed, "base64");
      const decipher = createDecipheriv("aes-256-gcm", theKey(), bytes.subarray(0, NONCE_BYTES))
        .setAAD(Buffer.from(owner))
        .setAuthTag(bytes.subarray(-TAG_BYTES));
      return decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)).toString("utf8") + decipher.final("utf8");
    },
  };
}

function readOrMake(file: string): Buffer {
  try {
    return checked(readFileSync(file), file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const beside = `${file}.${process.pid}.tmp`;
  const fd = openSync(beside, "wx", 0o600);
  writeSync(fd, randomBytes(KEY_BYTES));
  fsyncSync(fd);
  closeSync(fd);
  try {
    linkSync(beside, file); // never over a key that is there
  } finally {
    rmSync(beside);
  }
  const directory = openSync(dirname(file), "r");
  fsyncSync(directory);
  closeSync(directory);
  return checked(readFileSync(file), file);
}

function checked(key: Buffer, file: string): Buffer {
  if (key.length !== KEY_BYTES)
    throw new Fault(
      "internal",
      `${file} is not the key that certificates' keys are sealed with: restore it from a backup`,
    );
  return key;
}

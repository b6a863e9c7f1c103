// A line of a .pub file (sshd(8), AUTHORIZED_KEYS FILE FORMAT; RFC 4253 6.6, RFC 5656, RFC 8709), read strictly: it becomes a
// line that sshd reads, so nothing of it is passed on but what was understood.
import { createHash } from "node:crypto";
import { Fault } from "#api/fault.ts";
import { SSH_KEY_TYPES, type SshKey } from "#api/keys.ts";

export interface PublicKey {
  type: SshKey["type"];
  /** The key itself, base64. */
  blob: string;
  /** SHA256:..., as OpenSSH prints it. */
  fingerprint: string;
  comment: string;
}

const RSA_BITS_LEAST = 2048;
const RSA_BITS_MOST = 16_384;
const invalid = (text: string) => new Fault("invalid", text, { details: { field: "publicKey" } });

export function parsePublicKey(text: string): PublicKey {
  const line = text.trim();
  if (line.includes("PRIVATE KEY"))
    throw invalid("this is a private key: keep it to yourself, and give the file beside it that ends in .pub");
  if (line === "" || /[\r\n]/.test(line)) throw invalid("a public key is one line: TYPE BASE64 [COMMENT]");
  if (line.startsWith("ssh-dss ")) throw invalid("DSA keys are too weak; make another: ssh-keygen -t ed25519");
  const [type, blob, comment = ""] = /^(\S+)[ \t]+(\S+)(?:[ \t]+(.*))?$/.exec(line)?.slice(1) ?? [];
  if (type === undefined || blob === undefined) throw invalid("a public key is one line: TYPE BASE64 [COMMENT]");
  if (!isType(type)) throw invalid(`the key's type is to be one of ${SSH_KEY_TYPES.join(", ")}`);
  const bytes = /^[A-Za-z0-9+/]+={0,2}$/.test(blob) ? Buffer.from(blob, "base64") : Buffer.alloc(0);
  const fields = fieldsOf(bytes);
  if (fields === undefined || fields[0]?.toString("latin1") !== type || !isSound(type, fields))
    throw invalid("the key is damaged: copy the whole line of the .pub file");
  if (type === "ssh-rsa") {
    const bits = bitsOf(fields[2]!);
    if (bits < RSA_BITS_LEAST || bits > RSA_BITS_MOST)
      throw invalid(
        `an RSA key of ${bits} bits; ${RSA_BITS_LEAST} to ${RSA_BITS_MOST} are taken: ssh-keygen -t ed25519 makes a better one`,
      );
  }
  const digest = createHash("sha256").update(bytes).digest("base64").replace(/=+$/, "");
  return { type, blob: bytes.toString("base64"), fingerprint: `SHA256:${digest}`, comment };
}

const isType = (text: string): text is SshKey["type"] => (SSH_KEY_TYPES as readonly string[]).includes(text);

/** Length-prefixed fields to the very end, or undefined. */
function fieldsOf(bytes: Buffer): Buffer[] | undefined {
  const fields: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (at + 4 > bytes.length) return undefined;
    const length = bytes.readUInt32BE(at);
    if (at + 4 + length > bytes.length) return undefined;
    fields.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return fields;
}

const POINT_BYTES: Record<string, number> = { nistp256: 65, nistp384: 97, nistp521: 133 };

function isSound(type: SshKey["type"], fields: Buffer[]): boolean {
  const curve = /^(?:sk-)?ecdsa-sha2-(nistp\d+)/.exec(type)?.[1];
  const isSecurityKey = type.startsWith("sk-");
  if (type === "ssh-rsa") return fields.length === 3 && bitsOf(fields[1]!) > 1;
  if (curve === undefined)
    return (
      fields[1]?.length === 32 && fields.length === (isSecurityKey ? 3 : 2) && isApplication(fields[2], isSecurityKey)
    );
  return (
    fields.length === (isSecurityKey ? 4 : 3) &&
    fields[1]!.toString("latin1") === curve &&
    fields[2]!.length === POINT_BYTES[curve] &&
    isApplication(fields[3], isSecurityKey)
  );
}

const isApplication = (field: Buffer | undefined, wanted: boolean): boolean =>
  wanted ? field !== undefined && field.length > 0 && field.length <= 256 : field === undefined;

/** Bits of an mpint's magnitude. */
function bitsOf(number: Buffer): number {
  const first = number.findIndex((byte) => byte !== 0);
  return first < 0 ? 0 : (number.length - first - 1) * 8 + (32 - Math.clz32(number[first]!));
}

// A machine's TPM as a witness of which machine it is. Its attestation key is a primary key of the endorsement hierarchy, of a fixed
// template: the same TPM makes the same key at every boot and gives it to nobody, and another TPM makes another. So nothing is kept on
// the machine, and a copy of its card, UUID, serial and disks cannot sign. What it signs is a quote over the token that a boot joins with.
import { createHash } from "node:crypto";
import { type Static, Type } from "typebox";
import { object } from "./schema.ts";

const Base64 = (maxLength: number, description: string) =>
  Type.String({ maxLength, pattern: "^[A-Za-z0-9+/]+={0,2}$", description });

export const TpmQuote = object({
  key: Base64(512, "Public area of the attestation key (TPM2B_PUBLIC), base64."),
  attest: Base64(2048, "What was signed (TPMS_ATTEST), base64."),
  signature: Base64(512, "TPMT_SIGNATURE, base64."),
});
export type TpmQuote = Static<typeof TpmQuote>;

/** Names a TPM: sha256 of its attestation key's public area. */
export const tpmIdOf = (key: Buffer): string => createHash("sha256").update(key).digest("hex");

/** What a quote for this token has to hold: another boot's quote is no good. */
export const quoteNonce = (token: string): string => createHash("sha256").update(token).digest("hex");

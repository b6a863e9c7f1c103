// What a boot for an inventory shows of itself: which card the script went to, and from where. Sealed with a key of this boot server, so
// that it outlives a restart and costs no memory however many machines wait. It opens nothing but the way to say what one is.
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { readText, writeFileAtomic } from "#lib/files.ts";
import type { Source } from "./sight.ts";

const KEY_BYTES = 32;
const SEAL_BYTES = 16;
const HEAD_BYTES = 14;
export const NONCE_PATTERN = /^[A-Za-z0-9_-]{40}$/;

export interface InventoryNonce {
  mac: string;
  /** Where the script was fetched from. */
  address: string;
  /** The relay of that network; 0.0.0.0 on our own wire. */
  relay: string;
}

const NO_RELAY = "0.0.0.0";

export function sealNonce(key: Buffer, { mac, address, relay }: InventoryNonce): string {
  const head = Buffer.concat([Buffer.from(mac.replaceAll(":", ""), "hex"), ipBytes(address), ipBytes(relay)]);
  return Buffer.concat([head, sealOf(key, head)]).toString("base64url");
}

/** Undefined for one that this boot server did not make. */
export function openNonce(key: Buffer, nonce: string): InventoryNonce | undefined {
  if (!NONCE_PATTERN.test(nonce)) return undefined;
  const bytes = Buffer.from(nonce, "base64url");
  const head = bytes.subarray(0, HEAD_BYTES);
  const seal = bytes.subarray(HEAD_BYTES);
  if (seal.length !== SEAL_BYTES || !timingSafeEqual(seal, sealOf(key, head))) return undefined;
  const mac = head.subarray(0, 6).toString("hex").match(/../g)!.join(":");
  return { mac, address: [...head.subarray(6, 10)].join("."), relay: [...head.subarray(10, 14)].join(".") };
}

export const nonceOf = (mac: string, { address, card, relay }: Source): InventoryNonce => ({
  mac,
  address,
  relay: card === undefined && relay !== undefined ? relay : NO_RELAY,
});

/** On our own wire the card decides, whatever address it has by now; behind a relay, relay and address do. */
export function isNonceOf({ mac, address, relay }: InventoryNonce, source: Source): boolean {
  return relay === NO_RELAY ? source.card === mac : source.relay === relay && source.address === address;
}

/** The key of this boot server, made when it is not there. */
export async function inventoryKey(path: string): Promise<Buffer> {
  const kept = Buffer.from((await readText(path))?.trim() ?? "", "base64url");
  if (kept.length === KEY_BYTES) return kept;
  const key = randomBytes(KEY_BYTES);
  await writeFileAtomic(path, `${key.toString("base64url")}\n`, { mode: 0o600 });
  return key;
}

const sealOf = (key: Buffer, head: Buffer): Buffer =>
  createHmac("sha256", key).update("flynn inventory 1").update(head).digest().subarray(0, SEAL_BYTES);

const ipBytes = (address: string): Buffer => {
  const bytes = Buffer.from(address.split(".").map(Number));
  return bytes.length === 4 ? bytes : Buffer.alloc(4);
};

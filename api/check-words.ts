// Six words that stand for what waits: a person compares those on the machine's console with those at the appliance before approving.
// They follow from what the machine says it is and, when its agent runs, from the key that the agent made in memory, so another claim
// or another key has other words. Ten bits each: sixty, for a key that lives as long as one boot.
import { createHash } from "node:crypto";
import { WORDS } from "./words.ts";

export interface CheckedClaim {
  mac: string;
  uuid?: string | undefined;
  serial?: string | undefined;
}

const COUNT = 6;
const BITS = 10n;

/** `key`: the agent's public key as it is sent; none for a machine whose firmware alone has spoken. */
export function checkOf({ mac, uuid = "", serial = "" }: CheckedClaim, key = ""): { words: string; claim: string } {
  const text = JSON.stringify(["flynn six words 1", mac, uuid, serial, key]);
  const digest = createHash("sha256").update(text).digest("hex");
  let rest = BigInt(`0x${digest}`);
  const words = Array.from({ length: COUNT }, () => {
    const word = WORDS[Number(rest & ((1n << BITS) - 1n))]!;
    rest >>= BITS;
    return word;
  });
  return { words: words.join(" "), claim: digest.slice(0, 16) };
}

/** As a person types them: case, commas and further blanks do not matter. */
export const sameWords = (a: string, b: string): boolean => plainWords(a) === plainWords(b);

const plainWords = (text: string): string =>
  text
    .toLowerCase()
    .split(/[^a-z]+/)
    .filter((word) => word !== "")
    .join(" ");

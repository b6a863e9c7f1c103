// Six words that stand for what waits: a person compares those on the machine's console with those at the appliance before approving.
// They follow from what the machine says it is and, when its agent runs, from the key that the agent made in memory, so another claim
// or another key has other words. Ten bits each: sixty, for a key that lives as long as one boot.
import { createHash } from "node:crypto";
import { type Static, Type } from "typebox";
import { object, oneOf, Time } from "./schema.ts";
import { WORDS } from "./words.ts";

export const CheckWords = object({
  words: Type.String({
    maxLength: 80,
    pattern: "^[a-z]+( [a-z]+){5}$",
    description: "Six words; the machine's console shows them too while it waits.",
  }),
  by: oneOf(
    ["key", "claim"],
    "key: of a key that the machine's agent made in this boot and signed its inventory with. claim: of card, UUID and serial alone, which another machine can say too.",
  ),
  claim: Type.String({ pattern: "^[0-9a-f]{16}$", description: "The same as a fingerprint; a decision may name it." }),
  at: Time,
});
export type CheckWords = Static<typeof CheckWords>;

export interface CheckedClaim {
  mac: string;
  uuid?: string | undefined;
  serial?: string | undefined;
}

const COUNT = 6;
const BITS = 10n;

/** `key`: the agent's public key as it is sent; none for a machine whose firmware alone has spoken. */
export function checkOf({ mac, uuid = "", serial = "" }: CheckedClaim, key = ""): Pick<CheckWords, "words" | "claim"> {
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

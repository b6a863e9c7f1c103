// The agent of a machine that waits for approval, as rules: what the kernel's command line asks of it, what it signs, what it shows, and
// what an answer of the boot server makes it do. Pure but for the key.
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { checkOf } from "#api/check-words.ts";
import type { InventoryReport, SignedInventory } from "#api/inventory.ts";

export interface InventoryBoot {
  url: string;
  mac: string | undefined;
  /** Of a machine that is approved: it says what it is made of, and restarts. */
  ordered?: true;
}

/** Undefined: this boot is none for an inventory. */
export function inventoryBoot(cmdline: string): InventoryBoot | undefined {
  const url = /(?:^|\s)flynn\.inventory=(http:\/\/[0-9a-z.:[\]-]{1,80}\/i\/[A-Za-z0-9_-]{40})(?=\s|$)/.exec(
    cmdline,
  )?.[1];
  if (url === undefined) return undefined;
  return { url, mac: bootCard(cmdline), ...(/(?:^|\s)flynn\.ordered(?=\s|$)/.test(cmdline) ? { ordered: true } : {}) };
}

/** The card that firmware booted from, as the boot server names it. */
export function bootCard(cmdline: string): string | undefined {
  const bootif = /(?:^|\s)BOOTIF=01((?:-[0-9a-f]{2}){6})(?=\s|$)/i.exec(cmdline)?.[1];
  return bootif?.slice(1).replaceAll("-", ":").toLowerCase();
}

export interface Signer {
  words: string;
  claim: string;
  sign(report: InventoryReport): SignedInventory;
}

/** A key that exists in this process alone, and the words that follow from it and from what the machine says it is. */
export function signerOf({ mac, uuid, serial }: Pick<InventoryReport, "mac" | "uuid" | "serial">): Signer {
  const { publicKey, privateKey }: { publicKey: KeyObject; privateKey: KeyObject } = generateKeyPairSync("ed25519");
  const key = publicKey.export({ format: "der", type: "spki" }).toString("base64");
  return {
    ...checkOf({ mac, uuid, serial }, key),
    sign(report) {
      const text = JSON.stringify(report);
      return { report: text, key, signature: sign(null, Buffer.from(text), privateKey).toString("base64") };
    },
  };
}

/** What the boot server said; `no`: it does not know this boot. */
export type Told = { state: "waiting"; claim?: string } | { state: "approved" | "rejected" | "no" | "silent" };

export function toldBy(status: number, body: string): Told {
  if (status === 403 || status === 404 || status === 410) return { state: "no" };
  if (status !== 200) return { state: "silent" };
  try {
    const said = JSON.parse(body) as Record<string, unknown> | null;
    const state = said?.["state"];
    if (state === "approved" || state === "rejected") return { state };
    if (state !== "waiting") return { state: "silent" };
    const claim = said?.["claim"];
    return { state, ...(typeof claim === "string" ? { claim } : {}) };
  } catch {
    return { state: "silent" };
  }
}

export type Act = "wait" | "report" | "restart" | "power-off";

/** So many refusals in a row, and the machine starts over: the boot server that gave this boot is another by now. */
export const REFUSALS_MOST = 60;

export function actOf(told: Told, { claim, refusals }: { claim: string; refusals: number }): Act {
  if (told.state === "approved") return "restart";
  if (told.state === "rejected") return "power-off";
  if (told.state === "no") return refusals >= REFUSALS_MOST ? "restart" : "wait";
  return told.state === "waiting" && told.claim !== claim ? "report" : "wait";
}

export function consoleLines({ mac, serial }: Pick<InventoryReport, "mac" | "serial">, words: string): string[] {
  return [
    "",
    `Flynn: this machine, ${mac}${serial === undefined ? "" : ` (serial ${serial})`}, waits for approval. Its six words are`,
    "",
    `    ${words}`,
    "",
    "Flynn: compare them with those of: flynn machine list",
    `Flynn: then run: flynn machine approve ${mac}`,
    "",
  ];
}

// The inventory room: a machine that nobody approved yet runs the current image, says what it is made of and asks what was decided.
// Nothing that is given here is a secret, and nothing that is said here changes what was approved. Who asks is judged by what is seen of
// it, as everywhere on the boot plane.
import { checkOf } from "#api/check-words.ts";
import { isFault } from "#api/fault.ts";
import { REPORT_MOST_BYTES, type SignedInventory, signedReport } from "#api/inventory.ts";
import type { Claimed } from "#api/machine-identity.ts";
import { isNonceOf, nonceOf, openNonce, sealNonce } from "../identity/inventory-nonce.ts";
import type { Machines } from "../identity/machines.ts";
import type { Sight, Source } from "../identity/sight.ts";
import type { Inventories } from "../inventories.ts";
import { rateLimit } from "../rate.ts";
import type { Timeline } from "../timeline.ts";
import { type Answer, TEXT } from "./answer.ts";
import { refusalOf } from "./refusal.ts";

export interface InventoryRoomOptions {
  /** `http://10.77.0.1:7780` */
  base: string;
  /** Seals the nonces. */
  key: Buffer;
  machines: Pick<Machines, "find">;
  sight: Pick<Sight, "sourceOf" | "observed">;
  timeline: Pick<Timeline, "record">;
  inventories: Pick<Inventories, "add" | "known">;
  nowMs?: () => number;
  now?: () => Date;
}

/** Where the agent reports and asks, and what to call if it was not given after all; or why this machine is better left in its firmware. */
export type Offer = { url: string; back(): void } | { why: string };

export interface InventoryRoom {
  /** `ordered`: of a machine that is approved; it is asked once. */
  offer(claimed: Claimed, source: Source, imageId: string, how?: { ordered?: true | undefined }): Offer;
  /** What was decided on the machine. */
  ask(nonce: string, address: string): Answer;
  report(nonce: string, body: string, address: string): Answer;
  /** Why its initrd ended the boot. */
  refusal(nonce: string, body: string, address: string): Answer;
  /** The card whose boot for an inventory an address is in the middle of. */
  bootAt(address: string): { mac: string; imageId: string } | undefined;
}

const NO: Answer = { status: 403, type: TEXT, body: "no\n" };
const KEPT_MOST = 4096;
/** So many boots without a word of its agent, and the machine waits in its firmware for an hour. */
const BOOTS_MOST = 3;
const GIVEN_UP_MS = 3_600_000;
/** That it still waits is told this often. */
const STILL_WAITS_MS = 60_000;
const REPORTS = { perSecond: 0.2, burst: 4, maxKeys: KEPT_MOST };

interface Boot {
  mac: string;
  imageId: string;
  address: string;
  /** Scripts given since its agent was heard. */
  given: number;
  givenAtMs: number;
  toldAtMs: number;
  refused?: string;
  /** A person ordered it, and it has not reported yet. */
  ordered?: true;
}

export function createInventoryRoom({
  base,
  key,
  machines,
  sight,
  timeline,
  inventories,
  nowMs = () => performance.now(),
  now = () => new Date(),
}: InventoryRoomOptions): InventoryRoom {
  const boots = new Map<string, Boot>();
  const reports = rateLimit({ ...REPORTS, nowMs });

  function keep(boot: Boot): void {
    boots.delete(boot.mac);
    boots.set(boot.mac, boot);
    if (boots.size > KEPT_MOST) boots.delete(boots.keys().next().value!);
  }

  /** The card that shows this nonce, if it is the one that it was given to. */
  function asker(nonce: string, address: string): { mac: string; source: Source } | undefined {
    const said = openNonce(key, nonce);
    if (said === undefined) return undefined;
    const source = sight.sourceOf(address, said.mac);
    return isNonceOf(said, source) ? { mac: said.mac, source } : undefined;
  }

  function observedOf({ mac, source }: { mac: string; source: Source }) {
    const { card, relay, address } = source;
    // Behind a relay the nonce itself shows that the script went there: its DHCP packet may be long ago.
    return card === undefined && relay !== undefined ? { relay, address } : sight.observed(source, mac);
  }

  /** Its agent lives. */
  function heard(mac: string, source: Source): Boot {
    const before = boots.get(mac);
    const boot = {
      mac,
      imageId: before?.imageId ?? "",
      address: source.address,
      given: 0,
      givenAtMs: before?.givenAtMs ?? nowMs(),
      toldAtMs: before?.toldAtMs ?? Number.NEGATIVE_INFINITY,
    };
    keep(boot);
    return boot;
  }

  return {
    offer(claimed, source, imageId, { ordered } = {}) {
      const { mac } = claimed;
      const before = boots.get(mac);
      const recent = !ordered && before !== undefined && nowMs() - before.givenAtMs < GIVEN_UP_MS;
      if (recent && before.refused !== undefined) return { why: before.refused };
      if (recent && before.given >= BOOTS_MOST)
        return { why: `${BOOTS_MOST} boots for an inventory ended without a word of its agent` };
      const given = (recent ? before.given : 0) + 1;
      const toldAtMs = Number.NEGATIVE_INFINITY;
      const times = { given, givenAtMs: nowMs(), toldAtMs };
      const boot: Boot = { mac, imageId, address: source.address, ...times, ...(ordered ? { ordered } : {}) };
      keep(boot);
      return {
        url: `${base}/i/${sealNonce(key, nonceOf(mac, source))}`,
        back() {
          if (boots.get(mac) !== boot) return; // heard of since
          if (before === undefined) boots.delete(mac);
          else boots.set(mac, before);
        },
      };
    },
    ask(nonce, address) {
      const who = asker(nonce, address);
      if (who === undefined) return NO;
      const { mac, source } = who;
      const machine = machines.find(mac);
      if (machine !== undefined && !machine.rejected && boots.get(mac)?.ordered) return decided("waiting");
      if (machine !== undefined) return decided(machine.rejected ? "rejected" : "approved");
      const boot = heard(mac, source);
      if (nowMs() - boot.toldAtMs >= STILL_WAITS_MS) {
        boot.toldAtMs = nowMs();
        const message = "waiting for approval; its agent shows the six words on its console";
        const detail = { code: "waits-for-approval", address };
        timeline.record({ claimed: { mac }, observed: observedOf(who), stage: "wait-approval", message, detail });
      }
      return decided("waiting", inventories.known(mac));
    },
    report(nonce, body, address) {
      const who = asker(nonce, address);
      if (who === undefined) return NO;
      const { mac, source } = who;
      if (!reports.take(mac)) return { status: 429, type: TEXT, body: "too many reports\n" };
      const machine = machines.find(mac);
      const ordered = machine?.rejected ? undefined : boots.get(mac)?.ordered;
      if (machine !== undefined && !ordered) return decided(machine.rejected ? "rejected" : "approved");
      const signed = signedOf(body);
      if (signed === undefined) return { status: 400, type: TEXT, body: "not a signed inventory\n" };
      heard(mac, source);
      try {
        const { uuid, serial } = signedReport(signed, mac);
        const { claim } = checkOf({ mac, uuid, serial }, signed.key);
        const sent = { ...signed, mac, observed: observedOf(who), at: now().toISOString() };
        inventories.add(claim, { ...sent, ...(ordered && machine ? { ordered } : {}) });
        return machine === undefined ? decided("waiting", claim) : decided("approved");
      } catch (error) {
        if (!isFault(error, "invalid")) throw error;
        return { status: 400, type: TEXT, body: `${error.message}\n` };
      }
    },
    refusal(nonce, body, address) {
      const who = asker(nonce, address);
      if (who === undefined) return NO;
      const told = refusalOf(body);
      if (told === undefined) return { status: 400, type: TEXT, body: "a code and a text\n" };
      const { mac } = who;
      const before = boots.get(mac);
      if (before !== undefined) before.refused = told.message;
      const observed = observedOf(who);
      timeline.record({ claimed: { mac }, observed, stage: "boot-failed", level: "error", ...told });
      return { status: 200, type: TEXT, body: "ok\n" };
    },
    bootAt(address) {
      const { card } = sight.sourceOf(address);
      const boot = card === undefined ? [...boots.values()].find((one) => one.address === address) : boots.get(card);
      return boot !== undefined && boot.given > 0 ? { mac: boot.mac, imageId: boot.imageId } : undefined;
    },
  };
}

function decided(state: "waiting" | "approved" | "rejected", claim?: string): Answer {
  const body = JSON.stringify({ state, ...(claim === undefined ? {} : { claim }) });
  return { status: 200, type: "application/json", body: `${body}\n` };
}

/** Its shape alone: whether it is true is asked of the signature, and of control's schema. */
function signedOf(body: string): SignedInventory | undefined {
  let said: unknown;
  try {
    said = JSON.parse(body);
  } catch {
    return undefined;
  }
  if (typeof said !== "object" || said === null) return undefined;
  const { report, key, signature } = said as Record<string, unknown>;
  if (typeof report !== "string" || typeof key !== "string" || typeof signature !== "string") return undefined;
  if (Buffer.byteLength(report) > REPORT_MOST_BYTES || key.length > 128 || signature.length > 96) return undefined;
  return { report, key, signature };
}

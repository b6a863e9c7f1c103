// What the boot plane answers, apart from HTTP itself: script, beacon, seed and progress of one machine's boot. Every answer
// puts its step on the machine's timeline. A refusal is a bare "no": who asked, and as whom, is for the operator alone.

import { metaData, type SeedFile, seedOf, userData, vendorData } from "#api/cloud-config/seed.ts";
import type { Claimed, Observed } from "#api/machine-identity.ts";
import type { Loader } from "../dhcp/loader.ts";
import type { BootChoice } from "../identity/boot-choice.ts";
import { identityOfQuery } from "../identity/claim.ts";
import type { Machines } from "../identity/machines.ts";
import type { Once } from "../identity/once.ts";
import type { Sight, Source } from "../identity/sight.ts";
import type { BootRecord, Tokens, Use } from "../identity/tokens.ts";
import { whoIs } from "../identity/who.ts";
import type { Images } from "../images.ts";
import type { MediaRoom } from "../media/room.ts";
import { onceIn } from "../once-in.ts";
import { rateLimit } from "../rate.ts";
import type { Happening, Timeline } from "../timeline.ts";
import { type Answer, TEXT } from "./answer.ts";
import { progressOf } from "./progress.ts";
import { agentTroubleOf, refusalOf } from "./refusal.ts";
import { type ScriptParts, scriptAnswers } from "./script-answer.ts";

export interface BootPlaneOptions extends Pick<ScriptParts, "base" | "inventory" | "rootFrom"> {
  /** It has its root image, or is not about to load one any more: its place is another's. */
  rootDone?: (mac: string) => void;
  machines: Machines;
  images: Pick<Images, "get" | "refusal">;
  tokens: Tokens;
  timeline: Pick<Timeline, "record">;
  sight: Pick<Sight, "sourceOf" | "observed">;
  /** A join grant for this boot, good once. */
  grant: (boot: BootRecord) => string;
  /** Boots that are something else once; none unless given. */
  once?: Pick<Once, "of" | "give">;
  /** Tokens of machines' ISOs; none is good unless given. */
  media?: Pick<MediaRoom, "claims"> | undefined;
  /** Control is heard: what it has not said of a boot did not happen. True unless given. */
  controlIsThere?: () => boolean;
  /** This loader runs on the machine: it took what DHCP offered. */
  ran: (claimed: Claimed, observed: Observed, loader: Loader) => void;
  /** Monotonic milliseconds. */
  nowMs?: () => number;
}

export interface BootPlane {
  /** Its card, or a relay for its network, is seen: else there is no answer at all. */
  isSeen(address: string): boolean;
  /** Whoever shows the token of its machine's ISO is seen from then on, at this address. False: it may not. */
  showsMedia(query: URLSearchParams, address: string): Promise<boolean>;
  /** `head`: firmware asks how long the answer will be, before it asks for it. */
  script(query: URLSearchParams, address: string, loader: Loader, head?: boolean): Promise<Answer>;
  beacon(token: string, stage: string, address: string, head?: boolean): Answer;
  /** Why an initrd ended its boot, in its own words. */
  refusal(token: string, body: string, address: string): Answer;
  /** Why an agent is no member yet, in its own words. */
  trouble(token: string, body: string, address: string): Answer;
  seed(token: string, file: SeedFile, address: string): Promise<Answer>;
  progress(token: string, body: string, address: string): Answer;
  /** The boot that an address is in the middle of. */
  bootAt(address: string): BootRecord | undefined;
}

const NO: Answer = { status: 403, type: TEXT, body: "no\n" };
/** One refusal of a card in this time is told, and so many of all cards. */
const REFUSAL_MS = 60_000;
const REFUSALS = { perSecond: 0.5, burst: 20, maxKeys: 1 };
/** Whoever asked how long its script is gets that very one, when it asks for it at once. */
const ANNOUNCED_MS = 10_000;
const ANNOUNCED_MOST = 1024;
const BEACONS: Record<string, Pick<Happening, "stage" | "level" | "message" | "detail">> = {
  ipxe: { stage: "script", level: "info", message: "iPXE runs the boot script", detail: { code: "ipxe-runs" } },
  grub: { stage: "script", level: "info", message: "GRUB runs the boot script", detail: { code: "ipxe-runs" } },
  peer: {
    stage: "squashfs",
    level: "info",
    message: "fetched root.squashfs from a host beside it",
    detail: { code: "root-from-peer" },
  },
  fail: {
    stage: "boot-failed",
    level: "error",
    message: "it could not load or start the image; it tries again",
    detail: { code: "ipxe-failed" },
  },
};
/** An agent that is no member asks again every few seconds, and says so each time. */
const TROUBLE_MS = 60_000;

export function createBootPlane({
  base,
  machines,
  images,
  tokens,
  timeline,
  sight,
  inventory,
  grant,
  rootFrom,
  rootDone = () => undefined,
  once = { of: () => undefined, give: async () => undefined },
  media,
  controlIsThere = () => true,
  ran,
  nowMs = () => performance.now(),
}: BootPlaneOptions): BootPlane {
  const heads = new Map<string, { kind: BootChoice["kind"]; body: string; atMs: number }>();
  const refusalIsNews = onceIn(REFUSAL_MS, nowMs);
  const troubleIsNews = onceIn(TROUBLE_MS, nowMs);
  const refusals = rateLimit({ ...REFUSALS, nowMs });
  const who = whoIs({ machines, images, tokens, sight, once, controlIsThere });
  const scriptFor = scriptAnswers({ base, tokens, timeline, inventory, rootFrom, once, nowMs });

  function refused(use: Extract<Use, { ok: false }>, what: string, source: Source): Answer {
    if (use.boot) {
      const { imageId: _, ...seen } = who.seenOf(use.boot, source);
      timeline.record({
        ...seen,
        stage: "token-refused",
        level: "warning",
        message: `boot token refused for ${what}: ${use.reason}`,
        detail: { status: use.status, ...(use.code === undefined ? {} : { code: use.code }) },
      });
    }
    return { ...NO, status: use.status };
  }

  /** Both cards, for the operator. */
  function tellRefusal(claimed: Claimed, source: Source): void {
    const { mac } = claimed;
    if (!refusalIsNews(mac) || !refusals.take("")) return;
    const card = source.card ?? source.relay;
    const seen =
      source.card ?? (source.relay === undefined ? "no card on this network" : `behind relay ${source.relay}`);
    timeline.record({
      claimed: { mac },
      observed: sight.observed(source, mac),
      stage: "refused",
      level: "warning",
      message: `somebody asked to boot as card ${mac} from ${source.address}, which is ${seen}; refused`,
      detail: { code: "not-its-card", claimed: mac, observed: card ?? "none", address: source.address },
    });
  }

  return {
    isSeen: who.isSeen,
    async showsMedia(query, address) {
      const claimed = identityOfQuery(query);
      if (claimed === undefined || media === undefined) return false;
      const { mac } = claimed;
      const answer = await media.claims(query.get("media") ?? "", mac, address);
      if (answer.ok) return true;
      if (!refusalIsNews(mac) || !refusals.take("")) return false;
      timeline.record({
        claimed: { mac },
        observed: { address },
        stage: "refused",
        level: "warning",
        message: `somebody at ${address} asked to boot as card ${mac} from an ISO; refused: ${answer.why}`,
        detail: { claimed: mac, address },
      });
      return false;
    },
    async script(query, address, loader, head = false) {
      const asker = who.asks(query, address, loader);
      if (asker === undefined) return { status: 400, type: TEXT, body: "the query needs mac=aa:bb:cc:dd:ee:ff\n" };
      const { claimed, observed, source, choice } = asker;
      if (choice.kind === "refused") {
        tellRefusal(claimed, source);
        return NO;
      }
      if (!machines.admit(claimed.mac, true)) return { status: 429, type: TEXT, body: "too many unknown machines\n" };
      const key = `${address} ${loader} ${query}`;
      const announced = heads.get(key);
      heads.delete(key);
      if (!head && announced?.kind === choice.kind && nowMs() - announced.atMs < ANNOUNCED_MS)
        return { status: 200, type: TEXT, body: announced.body };
      ran(claimed, observed, loader);
      const body = await scriptFor(asker, query.get("platform") ?? undefined, loader);
      if (head) heads.set(key, { kind: choice.kind, body, atMs: nowMs() });
      if (heads.size > ANNOUNCED_MOST) heads.delete(heads.keys().next().value!);
      return { status: 200, type: TEXT, body };
    },
    beacon(token, stage, address, head = false) {
      const { use, source } = who.shows(token, address);
      if (!use.ok) return refused(use, `beacon ${stage}`, source);
      const told = Object.hasOwn(BEACONS, stage) ? BEACONS[stage] : undefined;
      if (told === undefined) return { status: 404, type: TEXT, body: "no such beacon\n" };
      if (head) return { status: 200, type: TEXT, body: "ok\n" };
      if (stage === "peer" || stage === "fail") rootDone(use.boot.mac);
      timeline.record({ ...who.seenOf(use.boot, source), ...told });
      return { status: 200, type: TEXT, body: "ok\n" };
    },
    refusal(token, body, address) {
      const { use, source } = who.shows(token, address);
      if (!use.ok) return refused(use, "refusal", source);
      const told = refusalOf(body);
      if (told === undefined) return { status: 400, type: TEXT, body: "a code and a text\n" };
      rootDone(use.boot.mac);
      timeline.record({ ...who.seenOf(use.boot, source), stage: "boot-failed", level: "error", ...told });
      return { status: 200, type: TEXT, body: "ok\n" };
    },
    trouble(token, body, address) {
      const { use, source } = who.shows(token, address);
      if (!use.ok) return refused(use, "trouble of its agent", source);
      const told = agentTroubleOf(body);
      if (told === undefined) return { status: 400, type: TEXT, body: "a code and a text\n" };
      if (troubleIsNews(`${use.boot.bootId} ${told.detail.code}`))
        timeline.record({ ...who.seenOf(use.boot, source), stage: "note", level: "warning", ...told });
      return { status: 200, type: TEXT, body: "ok\n" };
    },
    async seed(token, file, address) {
      if (file === "network-config") return { status: 404, type: TEXT, body: "the network is configured by DHCP\n" };
      const fetching = await who.fetches(token, file, address);
      if (!fetching.ok) return refused(fetching.use, file, fetching.source);
      const { boot, source, first, machine, target } = fetching;
      if (file === "user-data" && first) {
        const message = "cloud-init fetched its seed";
        timeline.record({ ...who.seenOf(boot, source), stage: "seed", message, detail: { address } });
      }
      if (file === "vendor-data") return { status: 200, type: TEXT, body: vendorData({ base, token }) };
      if (file === "meta-data")
        return { status: 200, type: TEXT, body: metaData({ bootId: boot.bootId, hostname: machine.hostname }) };
      const body = userData(seedOf(machine, target, { bootId: boot.bootId, joinToken: grant(boot) }));
      return { status: 200, type: TEXT, body };
    },
    progress(token, body, address) {
      const { use, source } = who.shows(token, address);
      if (!use.ok) return refused(use, "progress", source);
      const told = progressOf(body);
      if (told) timeline.record({ ...who.seenOf(use.boot, source), stage: "cloud-init", ...told });
      return { status: 200, type: TEXT, body: "ok\n" };
    },
    bootAt: who.bootAt,
  };
}

// What the boot plane answers, apart from HTTP itself: script, beacon, seed and progress of one machine's boot. Every answer
// puts its step on the machine's timeline. A refusal is a bare "no": who asked, and as whom, is for the operator alone.
import type { BootMachine } from "#api/boot.ts";
import { checkOf } from "#api/check-words.ts";
import { metaData, type SeedFile, seedOf, userData, vendorData } from "#api/cloud-config/seed.ts";
import { BOOTS_ONLY, type Claimed, type Observed, unbootableTodo } from "#api/machine-identity.ts";
import type { Loader } from "../dhcp/boot-files.ts";
import { type BootChoice, WAITS_FOR_APPROVAL } from "../identity/boot-choice.ts";
import type { Machines } from "../identity/machines.ts";
import type { Sight, Source } from "../identity/sight.ts";
import type { BootRecord, Tokens, Use } from "../identity/tokens.ts";
import { type Asker, whoIs } from "../identity/who.ts";
import type { Images, VerifiedImage } from "../images.ts";
import { rateLimit } from "../rate.ts";

import type { RootSource } from "../root-sources.ts";
import { SCRIPTS } from "../scripts.ts";

import { onceIn } from "../steps.ts";
import type { Happening, Timeline } from "../timeline.ts";
import type { ScriptImage } from "./boot-words.ts";
import type { InventoryRoom } from "./inventory.ts";
import { progressOf } from "./progress.ts";
import { agentTroubleOf, refusalOf } from "./refusal.ts";

export interface BootPlaneOptions {
  /** `http://10.77.0.1:7780` */
  base: string;
  machines: Machines;
  images: Pick<Images, "get" | "refusal">;
  tokens: Tokens;
  timeline: Pick<Timeline, "record">;
  sight: Pick<Sight, "sourceOf" | "observed">;
  inventory: Pick<InventoryRoom, "offer">;
  /** A join grant for this boot, good once. */
  grant: (boot: BootRecord) => string;
  /** Where this machine is to fetch its root image from. */
  rootFrom: (image: VerifiedImage, mac: string, source: Source) => Promise<RootSource>;
  /** This loader runs on the machine: it took what DHCP offered. */
  ran: (claimed: Claimed, observed: Observed, loader: Loader) => void;
  /** Monotonic milliseconds. */
  nowMs?: () => number;
}

export interface Answer {
  status: number;
  type: string;
  body: string;
}

export interface BootPlane {
  /** Its card, or a relay for its network, is seen: else there is no answer at all. */
  isSeen(address: string): boolean;
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

const TEXT = "text/plain; charset=utf-8";
const NO: Answer = { status: 403, type: TEXT, body: "no\n" };
/** A machine that waits says so again after this long: it is seen to be there, and known anew if somebody deleted it. */
const STILL_WAITS_MS = 15_000;
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
  ran,
  nowMs = () => performance.now(),
}: BootPlaneOptions): BootPlane {
  const lastChoice = new Map<string, { text: string; atMs: number }>();
  const heads = new Map<string, { kind: BootChoice["kind"]; body: string; atMs: number }>();
  const refusalIsNews = onceIn(REFUSAL_MS, nowMs);
  const turnIsNews = onceIn(REFUSAL_MS, nowMs);
  const troubleIsNews = onceIn(TROUBLE_MS, nowMs);
  const refusals = rateLimit({ ...REFUSALS, nowMs });
  const who = whoIs({ machines, images, tokens, sight });

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

  /** Machines that wait ask every few seconds: a changed answer is news, and now and then that they still wait. */
  function isNews(mac: string, choice: BootChoice): boolean {
    const text = JSON.stringify([choice.kind, "why" in choice && choice.why, "note" in choice && choice.note]);
    const now = nowMs();
    const last = lastChoice.get(mac);
    if (
      choice.kind !== "boot" &&
      choice.kind !== "inventory" &&
      last?.text === text &&
      now - last.atMs < STILL_WAITS_MS
    )
      return false;
    lastChoice.delete(mac);
    lastChoice.set(mac, { text, atMs: now });
    if (lastChoice.size > 8192) lastChoice.delete(lastChoice.keys().next().value!);
    return true;
  }

  async function scriptFor(
    { claimed, observed, source, choice }: Asker,
    platform: string | undefined,
    loader: Loader,
  ): Promise<string> {
    const { mac } = claimed;
    const scripts = SCRIPTS[loader];
    const news = isNews(mac, choice);
    const tell = (stage: "script" | "wait-approval" | "note", message: string, more: object = {}) => {
      if (news) timeline.record({ claimed, observed, stage, message, ...more });
    };
    const turnScript = (loading: number) => {
      const why = `${loading} machines load their images, it waits for its turn`;
      const detail = { code: "waits-turn", loading };
      if (turnIsNews(mac)) timeline.record({ claimed, observed, stage: "note", message: why, detail });
      return scripts.wait({ base, mac, lines: [`Flynn: ${why}`] });
    };
    switch (choice.kind) {
      case "wait": {
        const { why, note, code, architecture } = choice;
        const level = note === undefined ? {} : { level: "warning" };
        const stage = why === WAITS_FOR_APPROVAL ? "wait-approval" : "note";
        tell(stage, note ?? why, {
          detail: { code, address: source.address, ...(architecture ? { architecture } : {}) },
          ...level,
        });
        return scripts.wait({ base, mac, lines: waitLines(why, claimed) });
      }
      case "inventory": {
        const { image } = choice;
        if (loader === "uki") {
          // Its command line is signed: nothing can tell it to look around instead.
          tell("wait-approval", WAITS_FOR_APPROVAL, {
            detail: { code: "waits-for-approval", address: source.address },
          });
          return scripts.wait({ base, mac, lines: waitLines(WAITS_FOR_APPROVAL, claimed) });
        }
        const imageId = image.manifest.id;
        const detail = { code: "waits-for-approval", address: source.address };
        const root = await rootFrom(image, mac, source);
        if (root.from === "nowhere") return turnScript(root.loading);
        const offer = inventory.offer(claimed, source, imageId);
        if ("why" in offer) {
          tell("wait-approval", `waiting for approval, without an inventory: ${offer.why}`, { detail });
          return scripts.wait({ base, mac, lines: waitLines(WAITS_FOR_APPROVAL, claimed) });
        }
        const message = `waits for approval; given boot image ${imageId} without any secret, to say what it is made of`;
        tell("script", message, { imageId, detail: { address: source.address } });
        const peer = root.from === "peer" ? { peer: root.address } : {};
        return scripts.inventory({ base, mac, image: scriptImage(image), url: offer.url, ...peer });
      }
      case "unsupported": {
        const { what } = choice;
        const message = `firmware is ${what}; ${BOOTS_ONLY}: ${unbootableTodo(what)}`;
        const { architecture = "unknown" } = claimed;
        tell("note", message, { level: "warning", detail: { code: "no-boot-file", architecture } });
        return scripts.refusal([`Flynn: this machine's firmware is ${what}`, `Flynn: ${BOOTS_ONLY}`]);
      }
      case "rejected":
        tell("note", "it was rejected: no boot file");
        return scripts.refusal(["Flynn: no"]);
      case "refused":
        throw new Error("a refused request has no script");
      case "local-disk":
        tell("script", "told to boot its own disk", { detail: { code: "own-disk" } });
        return scripts.localDisk({ platform });
      case "rescue":
        tell("script", `given the rescue shell of image ${choice.image.manifest.id}`, {
          detail: { code: "rescue" },
        });
        return scripts.rescue({ base, mac, image: scriptImage(choice.image, choice.machine) });
      case "boot": {
        const imageId = choice.image.manifest.id;
        const root = await rootFrom(choice.image, mac, source);
        if (root.from === "nowhere") return turnScript(root.loading);
        const { token, boot } = await tokens.mint({ machineId: choice.machine.id, imageId, mac, source });
        const peer = root.from === "peer" ? { peer: root.address } : {};
        const text = scripts.boot({ base, mac, token, image: scriptImage(choice.image, choice.machine), ...peer });
        tell("script", `given boot image ${imageId}`, {
          bootId: boot.bootId,
          imageId,
          detail: { address: source.address, ...(root.from === "peer" ? { rootFrom: root.address } : {}) },
        });
        return text;
      }
    }
  }

  return {
    isSeen: who.isSeen,
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
      if (!head) timeline.record({ ...who.seenOf(use.boot, source), ...told });
      return { status: 200, type: TEXT, body: "ok\n" };
    },
    refusal(token, body, address) {
      const { use, source } = who.shows(token, address);
      if (!use.ok) return refused(use, "refusal", source);
      const told = refusalOf(body);
      if (told === undefined) return { status: 400, type: TEXT, body: "a code and a text\n" };
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

function scriptImage({ manifest }: VerifiedImage, machine?: BootMachine): ScriptImage {
  return {
    kernelSha256: manifest.kernel.sha256,
    initrdSha256: manifest.initrd.sha256,
    squashfsSha256: manifest.squashfs.sha256,
    cmdline: [...manifest.cmdline, ...(machine?.profile.cmdline ?? [])],
  };
}

function waitLines(why: string, claimed: Claimed): string[] {
  const { mac, serial } = claimed;
  const who = serial === undefined ? mac : `${mac} (serial ${serial})`;
  return why === WAITS_FOR_APPROVAL
    ? [
        `Flynn: machine ${who} waits for approval`,
        `Flynn: its six words: ${checkOf(claimed).words}`,
        `Flynn: run: flynn machine approve ${mac}`,
      ]
    : [`Flynn: machine ${who}: ${why}`];
}

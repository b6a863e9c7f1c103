// The script that a machine is given for what it is to boot (identity/boot-choice.ts), and the step of its timeline that says so.
import type { BootMachine } from "#api/boot.ts";
import { checkOf } from "#api/check-words.ts";
import { BOOTS_ONLY, type Claimed, unbootableTodo } from "#api/machine-identity.ts";
import type { Loader } from "../dhcp/loader.ts";
import { type BootChoice, WAITS_FOR_APPROVAL } from "../identity/boot-choice.ts";
import type { Once } from "../identity/once.ts";
import type { Source } from "../identity/sight.ts";
import type { Tokens } from "../identity/tokens.ts";
import type { Asker } from "../identity/who.ts";
import type { VerifiedImage } from "../images.ts";
import { onceIn } from "../once-in.ts";
import type { RootSource } from "../root-sources.ts";
import { SCRIPTS } from "../scripts.ts";
import type { Timeline } from "../timeline.ts";
import { consoleLines, type ScriptImage } from "./boot-words.ts";
import type { InventoryRoom } from "./inventory.ts";

export interface ScriptParts {
  /** `http://10.77.0.1:7780` */
  base: string;
  tokens: Pick<Tokens, "mint">;
  timeline: Pick<Timeline, "record">;
  inventory: Pick<InventoryRoom, "offer">;
  /** Where this machine is to fetch its root image from. */
  rootFrom: (image: VerifiedImage, mac: string, source: Source, approved: boolean) => Promise<RootSource>;
  once: Pick<Once, "give">;
  /** Monotonic milliseconds. */
  nowMs: () => number;
}

/** A machine that waits says so again after this long: it is seen to be there, and known anew if somebody deleted it. */
const STILL_WAITS_MS = 15_000;
/** That a machine waits its turn is told once in this time. */
const TURN_MS = 60_000;

/** The text of the script for whoever asks, in the language of its loader. */
export function scriptAnswers({
  base,
  tokens,
  timeline,
  inventory,
  rootFrom,
  once,
  nowMs,
}: ScriptParts): (asker: Asker, platform: string | undefined, loader: Loader) => Promise<string> {
  const lastChoice = new Map<string, { text: string; atMs: number }>();
  const turnIsNews = onceIn(TURN_MS, nowMs);
  const rescues = rescueCount(nowMs);

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

  return async function scriptFor(
    { claimed, observed, source, choice, why, orderId }: Asker,
    platform: string | undefined,
    loader: Loader,
  ): Promise<string> {
    const { mac } = claimed;
    const scripts = SCRIPTS[loader];
    const news = isNews(mac, choice);
    const tell = (stage: "script" | "wait-approval" | "note", message: string, more: object = {}) => {
      if (news) timeline.record({ claimed, observed, stage, message, ...more });
    };
    /** Before it is given: it is given once. */
    const spend = async (given: string): Promise<void> => {
      if (orderId === undefined) return;
      await once.give(orderId);
      timeline.record({
        claimed,
        observed,
        stage: "order",
        message: `given once, as ordered: ${given}`,
        detail: { orderId },
      });
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
        const { image, ordered } = choice;
        if (loader === "uki") {
          // Its command line is signed: nothing can tell it to look around instead.
          tell("wait-approval", WAITS_FOR_APPROVAL, {
            detail: { code: "waits-for-approval", address: source.address },
          });
          return scripts.wait({ base, mac, lines: waitLines(WAITS_FOR_APPROVAL, claimed) });
        }
        const imageId = image.manifest.id;
        const detail = { code: "waits-for-approval", address: source.address };
        // Before a place is taken: who is given none takes none.
        const offer = inventory.offer(claimed, source, imageId, { ordered });
        if ("why" in offer) {
          tell("wait-approval", `waiting for approval, without an inventory: ${offer.why}`, { detail });
          return scripts.wait({ base, mac, lines: waitLines(WAITS_FOR_APPROVAL, claimed) });
        }
        const root = await rootFrom(image, mac, source, ordered === true);
        if (root.from === "nowhere") {
          offer.back();
          return turnScript(root.loading);
        }
        await spend("an inventory");
        const message = `${ordered ? "as ordered" : "waits for approval"}; given boot image ${imageId} without any secret, to say what it is made of`;
        tell("script", message, { imageId, detail: { address: source.address } });
        const peer = root.from === "peer" ? { peer: root.address } : {};
        return scripts.inventory({
          ...{ base, mac, image: scriptImage(image), url: offer.url },
          ...(ordered ? { ordered } : {}),
          ...peer,
        });
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
        await spend("its own disk");
        tell("script", "told to boot its own disk", { detail: { code: "own-disk" } });
        return scripts.localDisk({ platform });
      case "rescue": {
        const lines =
          why === undefined
            ? []
            : [...consoleLines(`Flynn: ${why}`), `Flynn: to try again: flynn machine approve ${mac}`];
        if (why !== undefined && rescues(choice.machine)) {
          tell("note", "it came back from the rescue prompt again and again, and is given none any more", {
            level: "warning",
          });
          return scripts.wait({ base, mac, lines });
        }
        await spend("the rescue shell");
        tell("script", `given the rescue shell of image ${choice.image.manifest.id}${why ? `: ${why}` : ""}`, {
          detail: { code: "rescue" },
        });
        return scripts.rescue({ base, mac, image: scriptImage(choice.image, choice.machine), why, lines });
      }
      case "boot": {
        const imageId = choice.image.manifest.id;
        const root = await rootFrom(choice.image, mac, source, true);
        if (root.from === "nowhere") return turnScript(root.loading);
        await spend(`image ${imageId}`);
        const { token, boot } = await tokens.mint({ machineId: choice.machine.id, imageId, mac, source });
        const peer = root.from === "peer" ? { peer: root.address } : {};
        const text = scripts.boot({ base, mac, token, image: scriptImage(choice.image, choice.machine), ...peer });
        tell("script", `given boot image ${imageId}${why ? `: ${why}` : ""}`, {
          bootId: boot.bootId,
          imageId,
          detail: { address: source.address, ...(root.from === "peer" ? { rootFrom: root.address } : {}) },
        });
        return text;
      }
    }
  };
}

/** True for a machine that was given a rescue prompt as often as it may boot before it is ready: it does not stay there. */
function rescueCount(nowMs: () => number): (machine: BootMachine) => boolean {
  const given = new Map<string, number[]>();
  return ({ id, guard }) => {
    if (guard === undefined) return false;
    const times = (given.get(id) ?? []).filter((atMs) => nowMs() - atMs <= guard.withinMs);
    if (times.length >= guard.boots) return true;
    given.delete(id);
    given.set(id, [...times, nowMs()]);
    if (given.size > 8192) given.delete(given.keys().next().value!);
    return false;
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

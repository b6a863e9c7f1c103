// What the boot plane answers, apart from HTTP itself: script, beacon, seed and progress of one machine's boot. Every answer
// puts its step on the machine's timeline; a refused token does too.
import type { BootMachine } from "#api/boot.ts";
import type { MachineIdentity } from "#api/machines.ts";
import { type BootChoice, chooseBoot } from "../boot-choice.ts";
import { identityOfQuery } from "../identity.ts";
import type { Images, VerifiedImage } from "../images.ts";
import type { Machines } from "../machines.ts";
import type { Neighbours } from "../neighbours.ts";
import type { Timeline } from "../timeline.ts";
import type { BootRecord, Source, Tokens, Use } from "../tokens.ts";
import { bootScript, localDiskScript, refuseScript, rescueScript, type ScriptImage, waitScript } from "./ipxe.ts";
import { progressOf } from "./progress.ts";
import { metaData, type SeedFile, userData, vendorData } from "./seed.ts";

export interface BootPlaneOptions {
  /** `http://10.77.0.1:7780` */
  base: string;
  machines: Machines;
  images: Pick<Images, "get" | "refusal">;
  tokens: Tokens;
  timeline: Pick<Timeline, "record">;
  neighbours: Neighbours;
  /** A join grant for this boot, good once. */
  grant: (boot: BootRecord) => string;
  /** The machine took what DHCP offered. */
  progressed: (mac: string) => void;
}

export interface Answer {
  status: number;
  type: string;
  body: string;
}

export interface BootPlane {
  script(query: URLSearchParams, address: string): Promise<Answer>;
  beacon(token: string, stage: string, address: string): Answer;
  seed(token: string, file: SeedFile, address: string): Promise<Answer>;
  progress(token: string, body: string, address: string): Answer;
  /** The boot that an address is in the middle of. */
  bootAt(address: string): BootRecord | undefined;
}

const TEXT = "text/plain; charset=utf-8";
const BEACONS: Record<string, { stage: "script" | "boot-failed"; level: "info" | "error"; message: string }> = {
  ipxe: { stage: "script", level: "info", message: "iPXE runs the boot script" },
  fail: { stage: "boot-failed", level: "error", message: "iPXE could not load or start the image; it tries again" },
};

export function createBootPlane({
  base,
  machines,
  images,
  tokens,
  timeline,
  neighbours,
  grant,
  progressed,
}: BootPlaneOptions): BootPlane {
  const lastChoice = new Map<string, string>();

  function sourceOf(address: string): Source {
    return { address, hardware: neighbours(address) };
  }

  function refused(use: Extract<Use, { ok: false }>, what: string): Answer {
    if (use.boot) {
      timeline.record({
        identity: machines.identity(use.boot.mac),
        bootId: use.boot.bootId,
        stage: "token-refused",
        level: "warning",
        message: `boot token refused for ${what}: ${use.reason}`,
        detail: { status: use.status },
      });
    }
    return { status: use.status, type: TEXT, body: `refused: ${use.reason}\n` };
  }

  /** Machines that wait ask every few seconds: only a changed answer is news. */
  function isNews(mac: string, choice: BootChoice): boolean {
    const text = `${choice.kind} ${"why" in choice ? choice.why : ""}`;
    if (choice.kind !== "boot" && lastChoice.get(mac) === text) return false;
    lastChoice.delete(mac);
    lastChoice.set(mac, text);
    if (lastChoice.size > 8192) lastChoice.delete(lastChoice.keys().next().value!);
    return true;
  }

  async function scriptFor(
    choice: BootChoice,
    claimed: MachineIdentity,
    source: Source,
    platform: string | undefined,
  ): Promise<string> {
    const { mac } = claimed;
    const news = isNews(mac, choice);
    const tell = (stage: "script" | "wait-approval" | "note", message: string, more: object = {}) => {
      if (news) timeline.record({ identity: claimed, stage, message, ...more });
    };
    switch (choice.kind) {
      case "wait": {
        tell(choice.why === "waiting for approval" ? "wait-approval" : "note", choice.why, {
          detail: { address: source.address },
        });
        return waitScript({ base, mac, lines: waitLines(choice.why, claimed) });
      }
      case "refuse":
        tell("note", choice.why, { level: "error" });
        return refuseScript({ reason: choice.why });
      case "local-disk":
        tell("script", "told to boot its own disk");
        return localDiskScript({ platform });
      case "rescue":
        tell("script", `given the rescue shell of image ${choice.image.manifest.id}`);
        return rescueScript({ base, mac, image: scriptImage(choice.image, choice.machine) });
      case "boot": {
        const imageId = choice.image.manifest.id;
        const { token, boot } = await tokens.mint({ machineId: choice.machine.id, imageId, mac, source });
        const text = bootScript({ base, mac, token, image: scriptImage(choice.image, choice.machine) });
        tell("script", `given boot image ${imageId}`, {
          bootId: boot.bootId,
          imageId,
          detail: { address: source.address },
        });
        return text;
      }
    }
  }

  return {
    async script(query, address) {
      const told = identityOfQuery(query);
      if (told === undefined) return { status: 400, type: TEXT, body: "the query needs mac=aa:bb:cc:dd:ee:ff\n" };
      const claimed = machines.see(told);
      if (claimed === undefined) return { status: 429, type: TEXT, body: "too many unknown machines\n" };
      progressed(claimed.mac);
      const source = sourceOf(address);
      const choice = chooseBoot({
        target: machines.target,
        machine: machines.find(claimed.mac),
        claimed: told,
        hardware: source.hardware,
        imageOf: images.get,
        refusalOf: images.refusal,
      });
      const body = await scriptFor(choice, claimed, source, query.get("platform") ?? undefined);
      return { status: 200, type: TEXT, body };
    },
    beacon(token, stage, address) {
      const use = tokens.check(token, sourceOf(address));
      if (!use.ok) return refused(use, `beacon ${stage}`);
      const told = Object.hasOwn(BEACONS, stage) ? BEACONS[stage] : undefined;
      if (told === undefined) return { status: 404, type: TEXT, body: "no such beacon\n" };
      timeline.record({
        identity: machines.identity(use.boot.mac),
        bootId: use.boot.bootId,
        imageId: use.boot.imageId,
        ...told,
      });
      return { status: 200, type: TEXT, body: "ok\n" };
    },
    async seed(token, file, address) {
      const source = sourceOf(address);
      if (file === "network-config") return { status: 404, type: TEXT, body: "the network is configured by DHCP\n" };
      const use = await tokens.use(token, file, source);
      if (!use.ok) return refused(use, file);
      const { boot } = use;
      const machine = machines.find(boot.mac);
      const target = machines.target;
      if (machine === undefined || target === undefined || machine.id !== boot.machineId) {
        return refused({ ok: false, status: 410, reason: "the machine is not known any more", boot }, file);
      }
      if (file === "user-data" && use.first) {
        const message = "cloud-init fetched its seed";
        timeline.record({
          identity: machines.identity(boot.mac),
          bootId: boot.bootId,
          imageId: boot.imageId,
          stage: "seed",
          message,
          detail: { address },
        });
      }
      if (file === "vendor-data") return { status: 200, type: TEXT, body: vendorData({ base, token }) };
      if (file === "meta-data")
        return { status: 200, type: TEXT, body: metaData({ bootId: boot.bootId, hostname: machine.hostname }) };
      const body = userData({
        bootId: boot.bootId,
        machineId: machine.id,
        hostname: machine.hostname,
        tags: { ...machine.profile.tags, ...machine.tags },
        diskPolicy: machine.profile.diskPolicy,
        sshKeys: machine.profile.sshKeys,
        controlUrls: target.controlUrls,
        caPem: target.caPem,
        joinToken: grant(boot),
      });
      return { status: 200, type: TEXT, body };
    },
    progress(token, body, address) {
      const use = tokens.check(token, sourceOf(address));
      if (!use.ok) return refused(use, "progress");
      const told = progressOf(body);
      if (told)
        timeline.record({
          identity: machines.identity(use.boot.mac),
          bootId: use.boot.bootId,
          imageId: use.boot.imageId,
          stage: "cloud-init",
          ...told,
        });
      return { status: 200, type: TEXT, body: "ok\n" };
    },
    bootAt: (address) => tokens.bootAt(sourceOf(address)),
  };
}

function scriptImage({ manifest }: VerifiedImage, machine: BootMachine): ScriptImage {
  return {
    kernelSha256: manifest.kernel.sha256,
    initrdSha256: manifest.initrd.sha256,
    squashfsSha256: manifest.squashfs.sha256,
    cmdline: [...manifest.cmdline, ...machine.profile.cmdline],
  };
}

function waitLines(why: string, { mac, serial }: MachineIdentity): string[] {
  const who = serial === undefined ? mac : `${mac} (serial ${serial})`;
  return why === "waiting for approval"
    ? [`Flynn: machine ${who} waits for approval`, `Flynn: run: flynn machine approve ${mac}`]
    : [`Flynn: machine ${who}: ${why}`];
}

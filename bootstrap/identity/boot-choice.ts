// What a machine's next network boot is: wait, an image, its own disk, a rescue shell, or nothing; and why. Who it is comes first
// (api/machine-identity.ts). `why` is for the console, so it names nothing that the asker did not know; `note` is for people.

import { type BootMachine, type BootTarget, isKernelWord } from "#api/boot.ts";
import type { BootCode } from "#api/boot-codes.ts";
import { readOwn } from "#api/cloud-config/own.ts";
import { isFault } from "#api/fault.ts";
import { type Claimed, imageArchitecture, type Observed, outcomeOf, unbootable } from "#api/machine-identity.ts";
import type { VerifiedImage } from "../images.ts";

export type BootChoice =
  | { kind: "wait"; why: string; code: BootCode; note?: string; architecture?: string }
  | { kind: "boot" | "rescue"; machine: BootMachine; image: VerifiedImage }
  | { kind: "local-disk"; machine: BootMachine }
  /** It says what it is made of, while it waits for a person or because one ordered it: no secret goes with this boot. */
  | { kind: "inventory"; image: VerifiedImage; ordered?: true }
  /** There is no image for such a machine, whoever approves it: it goes on with its own boot order. */
  | { kind: "unsupported"; what: string }
  /** A person said no: the machine goes on with its own boot order. */
  | { kind: "rejected" }
  /** Not the machine it says it is, or nobody knows: a bare "no". */
  | { kind: "refused" };

export interface ChoiceInput {
  target: BootTarget | undefined;
  machine: BootMachine | undefined;
  claimed: Claimed;
  observed: Observed;
  imageOf: (imageId: string) => VerifiedImage | undefined;
  refusalOf: (imageId: string) => string | undefined;
}

export const WAITS_FOR_APPROVAL = "waiting for approval";

export function chooseBoot({ target, machine, claimed, observed, imageOf, refusalOf }: ChoiceInput): BootChoice {
  const outcome = outcomeOf(claimed, observed, { ofCard: machine });
  if (outcome.kind === "refused" || outcome.kind === "dropped") return { kind: "refused" };
  const what = unbootable(claimed);
  if (what !== undefined) return { kind: "unsupported", what };
  if (target === undefined)
    return { kind: "wait", code: "target-unknown", why: "the boot server has not heard from the control plane yet" };
  if (outcome.kind === "rejected") return { kind: "rejected" };
  if (outcome.kind === "changed")
    return {
      kind: "wait",
      code: "changed",
      why: WAITS_FOR_APPROVAL,
      note: `a known card, but ${outcome.differs.join("; ")}`,
    };
  const architecture = imageArchitecture(claimed.architecture);
  const waits: BootChoice = { kind: "wait", code: "waits-for-approval", why: WAITS_FOR_APPROVAL };
  if (machine === undefined || outcome.kind === "discovered") {
    const image = target.unknownMachines === "inventory" ? inventoryImage(target, imageOf, architecture) : undefined;
    return image === undefined ? waits : { kind: "inventory", image };
  }
  if (machine.target === "local-disk") return { kind: "local-disk", machine };
  if (machine.target === "wait") return waits;
  const imageId = imageIdOf(machine, target, architecture);
  if (imageId === undefined) return noImage(architecture, target);
  const image = imageOf(imageId);
  if (image === undefined)
    return {
      kind: "wait",
      code: "image-not-servable",
      why: `boot image ${imageId} cannot be served: ${refusalOf(imageId) ?? "its files are not here"}`,
    };
  if (architecture !== undefined && image.manifest.architecture !== architecture)
    return {
      kind: "wait",
      code: "no-image-for-architecture",
      architecture,
      why: `boot image ${imageId} is for ${image.manifest.architecture}, this machine is ${architecture}`,
      note: `profile ${machine.profile.name} boots image ${imageId}, which is for ${image.manifest.architecture}, and this machine is ${architecture}; give it another profile, or set this one to the newest image of each architecture: flynn profile set ${machine.profile.name} --image current`,
    };
  const wrong = [...image.manifest.cmdline, ...machine.profile.cmdline].find((one) => !isKernelWord(one));
  if (wrong !== undefined)
    return {
      kind: "wait",
      code: "kernel-word",
      why: "its kernel command line cannot be used; flynn machine explain says why",
      note: `${JSON.stringify(wrong.slice(0, 80))} cannot stand in a kernel command line; set profile ${machine.profile.name} again without it, such as: flynn profile set ${machine.profile.name} --cmdline console=ttyS0`,
    };
  const ownWrong = wrongOwn(machine.profile.cloudConfig);
  if (ownWrong !== undefined)
    return {
      kind: "wait",
      code: "cloud-config",
      why: "its profile's cloud-config cannot be used; flynn machine explain says why",
      note: `profile ${machine.profile.name}: ${ownWrong}; set it again: flynn profile set ${machine.profile.name} --cloud-config FILE`,
    };
  return { kind: machine.target === "rescue" ? "rescue" : "boot", machine, image };
}

/** The current image of its architecture, if it can be served: without one the machine waits in its firmware. */
function inventoryImage(
  target: BootTarget,
  imageOf: ChoiceInput["imageOf"],
  architecture = "amd64",
): VerifiedImage | undefined {
  const current = target.images.find((image) => image.current && image.architecture === architecture);
  const image = current && imageOf(current.id);
  return image?.manifest.cmdline.every(isKernelWord) ? image : undefined;
}

/** It was right when it was set, maybe by other rules. */
function wrongOwn(text: string | undefined): string | undefined {
  try {
    if (text !== undefined) readOwn(text);
    return undefined;
  } catch (error) {
    if (isFault(error, "invalid")) return error.message;
    throw error;
  }
}

/** The current image of what the machine is now, when control knew it as something else or not at all. */
function imageIdOf(machine: BootMachine, target: BootTarget, architecture = "amd64"): string | undefined {
  const { image } = machine.profile;
  const own = machine.imageId ?? (image === "current" ? undefined : image);
  const isWrong = target.images.some((one) => one.id === own && one.architecture !== architecture);
  if (own !== undefined && (!isWrong || image !== "current")) return own;
  return target.images.find((one) => one.current && one.architecture === architecture)?.id;
}

function noImage(architecture = "amd64", target: BootTarget): BootChoice {
  if (architecture === "amd64" && target.images.length === 0)
    return { kind: "wait", code: "no-image", why: "there is no boot image yet: flynn image build" };
  const why = `there is no boot image for ${architecture} yet: flynn image build --arch ${architecture}`;
  return { kind: "wait", code: "no-image-for-architecture", architecture, why };
}

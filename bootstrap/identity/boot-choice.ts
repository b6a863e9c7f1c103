// What a machine's next network boot is: wait, an image, its own disk, a rescue shell, or nothing; and why. Who it is comes first
// (api/machine-identity.ts). `why` is for the console, so it names nothing that the asker did not know; `note` is for people.

import { type BootMachine, type BootTarget, isKernelWord } from "#api/boot.ts";
import type { BootCode } from "#api/boot-codes.ts";
import { readOwn } from "#api/cloud-config/own.ts";
import { isFault } from "#api/fault.ts";
import { type Claimed, type Observed, outcomeOf, unbootable } from "#api/machine-identity.ts";
import type { VerifiedImage } from "../images.ts";

export type BootChoice =
  | { kind: "wait"; why: string; code: BootCode; note?: string }
  | { kind: "boot" | "rescue"; machine: BootMachine; image: VerifiedImage }
  | { kind: "local-disk"; machine: BootMachine }
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
  const waits: BootChoice = { kind: "wait", code: "waits-for-approval", why: WAITS_FOR_APPROVAL };
  if (machine === undefined || outcome.kind === "discovered") return waits;
  if (machine.target === "local-disk") return { kind: "local-disk", machine };
  if (machine.target === "wait") return waits;
  const imageId = imageIdOf(machine, target);
  if (imageId === undefined)
    return { kind: "wait", code: "no-image", why: "there is no boot image yet: flynn image build" };
  const image = imageOf(imageId);
  if (image === undefined)
    return {
      kind: "wait",
      code: "image-not-servable",
      why: `boot image ${imageId} cannot be served: ${refusalOf(imageId) ?? "its files are not here"}`,
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

function imageIdOf(machine: BootMachine, target: BootTarget): string | undefined {
  if (machine.imageId !== undefined) return machine.imageId;
  if (machine.profile.image !== "current") return machine.profile.image;
  return target.images.find((image) => image.current)?.id;
}

// What a machine's next network boot is: wait, an image, its own disk, a rescue shell, or nothing; and why.
import type { BootMachine, BootTarget } from "#api/boot.ts";
import type { MachineIdentity } from "#api/machines.ts";
import type { VerifiedImage } from "./images.ts";
import { conflict } from "./machines.ts";

export type BootChoice =
  | { kind: "wait"; why: string; known: boolean }
  | { kind: "boot" | "rescue"; machine: BootMachine; image: VerifiedImage }
  | { kind: "local-disk"; machine: BootMachine }
  | { kind: "refuse"; why: string };

export interface ChoiceInput {
  target: BootTarget | undefined;
  machine: BootMachine | undefined;
  claimed: MachineIdentity;
  /** The network card the request came from, when it is on our own wire. */
  hardware: string | undefined;
  imageOf: (imageId: string) => VerifiedImage | undefined;
  refusalOf: (imageId: string) => string | undefined;
}

export function chooseBoot({ target, machine, claimed, hardware, imageOf, refusalOf }: ChoiceInput): BootChoice {
  if (hardware !== undefined && hardware !== claimed.mac) {
    return { kind: "refuse", why: `the request for ${claimed.mac} came from the network card ${hardware}` };
  }
  if (target === undefined)
    return { kind: "wait", known: false, why: "the boot server has not heard from the control plane yet" };
  if (machine === undefined) return { kind: "wait", known: false, why: "waiting for approval" };
  const wrong = conflict(machine, claimed);
  if (wrong !== undefined)
    return { kind: "refuse", why: `this network card belongs to machine ${machine.hostname}, but ${wrong}` };
  if (machine.target === "local-disk") return { kind: "local-disk", machine };
  if (machine.target === "wait") return { kind: "wait", known: true, why: "waiting for approval" };
  const imageId = imageIdOf(machine, target);
  if (imageId === undefined) return { kind: "wait", known: true, why: "there is no boot image yet: flynn image build" };
  const image = imageOf(imageId);
  if (image !== undefined) return { kind: machine.target === "rescue" ? "rescue" : "boot", machine, image };
  return {
    kind: "wait",
    known: true,
    why: `boot image ${imageId} cannot be served: ${refusalOf(imageId) ?? "its files are not here"}`,
  };
}

function imageIdOf(machine: BootMachine, target: BootTarget): string | undefined {
  if (machine.imageId !== undefined) return machine.imageId;
  if (machine.profile.image !== "current") return machine.profile.image;
  return target.images.find((image) => image.current)?.id;
}

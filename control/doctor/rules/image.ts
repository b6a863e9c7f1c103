// Stalls of kernel, initrd and root image: half of one fetched, memory, and what the initrd itself refuses.
import type { TimelineEvent } from "#api/machines.ts";
import { formatSize } from "#lib/units.ts";
import { type Rule, silence, told } from "../rule.ts";

const half = (event: TimelineEvent): string => {
  const [bytes, sizeBytes] = [Number(event.detail?.["bytes"]), Number(event.detail?.["sizeBytes"])];
  return Number.isFinite(bytes) && Number.isFinite(sizeBytes)
    ? `${formatSize(bytes)} of ${formatSize(sizeBytes)}`
    : event.message;
};

export const IMAGE_RULES: readonly Rule[] = [
  told(
    "transfer-stopped",
    (event) => ({
      what: `it fetched ${half(event)} of the kernel and broke off`,
      todo: "look at its link and at its console: iPXE names the error; it tries again by itself while it is on",
    }),
    { stage: "kernel", id: "kernel-half" },
  ),
  told(
    "transfer-stopped",
    (event) => ({
      what: `it fetched ${half(event)} of the initrd and broke off`,
      todo: "give it more memory if iPXE says so on its console (a BIOS has less room for an initrd than UEFI); else look at its link",
    }),
    { stage: "initrd", id: "initrd-half" },
  ),
  told(
    "transfer-stopped",
    (event) => ({
      what: `it fetched ${half(event)} of the root image and broke off: its memory is full, or it lost its link`,
      todo: "give it more memory: the image needs its size and 512 MiB; or look at its link",
    }),
    { stage: "squashfs", id: "squashfs-half" },
  ),
  told("initrd-memory", ({ message }) => ({
    what: `it has too little memory: ${message}`,
    todo: "give it more memory, or boot a smaller image; it refuses again at each try",
  })),
  told("initrd-no-port", ({ message }) => ({
    what: `the boot image has no driver or no firmware for its network card: ${message}`,
    todo: "build the image with the card's firmware package: flynn image build; or use another card",
  })),
  told("initrd-no-address", ({ message }) => ({
    what: `its kernel started and no DHCP server answered it: ${message}`,
    todo: "look at its link and switch port (STP, LACP); a DHCP server must answer it after its kernel started too",
  })),
  told("initrd-fetch", ({ message }) => ({
    what: `its initrd could not fetch the root image: ${message}`,
    todo: "look at its link: the root image comes from the boot server over HTTP (TCP 7780)",
  })),
  told("initrd-hash", ({ message }) => ({
    what: `the root image that it got is not the one it should be: ${message}`,
    todo: "if it is one machine, test its memory; if all: flynn image build, then flynn image rollout",
  })),
  told("initrd-image", ({ message }) => ({
    what: `its boot image or command line is incomplete: ${message}`,
    todo: "build the boot image again and roll it out: flynn image build, then flynn image rollout",
  })),
  silence("kernel-alone", {
    stage: "kernel",
    patienceMs: 120_000,
    follows: "the kernel fetched whole",
    words: {
      what: "it fetched the kernel and not the initrd",
      todo: "the machine was switched off or lost its link there; look at its console",
    },
  }),
  silence("initrd-silent", {
    stage: "initrd",
    patienceMs: 180_000,
    follows: "kernel and initrd fetched whole, and no word of the initrd",
    words: {
      what: "kernel and initrd were fetched, and its kernel was never heard of",
      todo: "look at its console: the kernel stopped, or the initrd has no driver for this network card and cannot say so",
    },
  }),
  silence("squashfs-silent", {
    stage: "squashfs",
    patienceMs: 240_000,
    follows: "the root image fetched whole, and no seed",
    words: {
      what: "it fetched the root image, and cloud-init did not ask for its seed",
      todo: "look at its console: the system did not start, or its network did not come up again",
    },
  }),
];

// Stalls at the boot script: what the boot server could not give it, and what it did not do with it.
import { codeOf, isCode } from "../boot.ts";
import { part, type Rule, silence, told } from "../rule.ts";

export const SCRIPT_RULES: readonly Rule[] = [
  told("not-its-card", ({ message }) => ({
    what: `somebody else asks to boot in its name (${message})`,
    todo: "find the card that asked; if it is this machine's other card: flynn machine adopt",
  })),
  told("target-unknown", {
    what: "the boot server has never heard from control, so it knows no machine",
    todo: "flynn status; look at boot-server.log for why it cannot reach or join control",
  }),
  told("waits-turn", (event) => ({
    what: `it waits for its turn, since ${part(event, "loading")} machines load their images just now`,
    todo: "wait: it asks again every few seconds, and each host that is ready gives the image on to others; flynn machine list shows the others",
  })),
  told("no-image", { what: "there is no boot image yet", todo: "flynn image build" }),
  told("no-image-for-architecture", (event) => ({
    what: `there is no boot image for its architecture, ${part(event, "architecture")}`,
    todo: `flynn image build --arch ${part(event, "architecture")}, or use another machine`,
  })),
  told("image-not-servable", ({ message }) => ({
    what: `its image is not served: ${message}`,
    todo: "build it again and roll it out: flynn image build; or give the machine's profile another: flynn profile set",
  })),
  told("kernel-word", ({ message }) => ({
    what: `a word of its kernel command line cannot be used: ${message}`,
    todo: "set its profile's --cmdline again without that word: flynn profile set",
  })),
  told("cloud-config", ({ message }) => ({
    what: `its profile's cloud-config cannot be used: ${message}`,
    todo: "set it again: flynn profile set PROFILE --cloud-config FILE",
  })),
  told("ipxe-failed", (_, { troubleTimes }) => ({
    what: `iPXE fetched the image and could not start it${troubleTimes > 1 ? ` (${troubleTimes} times)` : ""}`,
    todo: "look at its console for iPXE's error; too little memory for kernel and initrd is the likeliest",
  })),
  silence("approved-silent", {
    stage: "approved",
    patienceMs: 60_000,
    follows: "an approval",
    words: {
      what: "it was approved and has not asked for its boot script since",
      todo: "it may have given up waiting; switch it off and on",
    },
  }),
  silence("wait-ended", {
    stage: "wait-approval",
    patienceMs: 60_000,
    follows: "a script that waits, to a machine that is approved by now",
    words: {
      what: "it waited for approval, and stopped asking before it had it",
      todo: "switch it off and on, network boot first",
    },
  }),
  silence("script-not-run", {
    stage: "script",
    patienceMs: 60_000,
    follows: "a script given, and no sign that iPXE runs it",
    when: (_, last) => (codeOf(last) === undefined ? [last] : undefined),
    words: {
      what: "it was given its boot script and shows no sign of running it",
      todo: "look at its console; it was switched off, or iPXE broke off there",
    },
  }),
  silence("script-no-kernel", {
    stage: "script",
    patienceMs: 60_000,
    follows: "iPXE runs the script, and fetches no kernel",
    when: (_, last) => (isCode("ipxe-runs")(last) ? [last] : undefined),
    words: {
      what: "iPXE runs its boot script and fetched no kernel",
      todo: "look at its console: iPXE names the file and the error; another machine on the LAN may fetch it from TCP 7780 to compare",
    },
  }),
  silence("own-disk-silent", {
    stage: "script",
    patienceMs: 300_000,
    follows: "told to boot its own disk, and no host since",
    when: (_, last) => (isCode("own-disk")(last) ? [last] : undefined),
    words: {
      what: "it was told to boot its own disk, and no host came of it",
      todo: "what is on that disk is not ours, or it has no boot loader: flynn machine boot-once NAME --target boot, or look at its console",
    },
  }),
];

// Stalls while firmware fetches its boot file, and between that and the script: TFTP, UEFI HTTP boot, Secure Boot, iPXE.
import type { TimelineEvent } from "#api/machines.ts";
import { type Boot, isFetch } from "../boot.ts";
import { type Found, part, type Rule, silence, told } from "../rule.ts";

/** Firmware that is refused by itself tries again within this time. */
const AGAIN_MS = 300_000;

/** The file that was fetched last in this try or the one before, and that firmware began anew after it. */
function fetchedThenAnew({ events, last }: Boot): TimelineEvent[] | undefined {
  if (last?.stage !== "discover" && last?.stage !== "offer") return undefined;
  const n = events.findLastIndex((event) => isFetch(event) || event.stage === "script");
  const fetched = events[n];
  const anew = events.slice(n + 1).find(({ stage }) => stage === "discover");
  if (fetched?.stage !== "tftp" || anew === undefined || anew.detail?.["kind"] === "ipxe") return undefined;
  return Date.parse(anew.at) - Date.parse(fetched.at) < AGAIN_MS ? [fetched, anew] : undefined;
}

const isUefi = ({ identity }: Boot): boolean => identity.firmware !== "bios";
const isShim = (event: TimelineEvent): boolean => /shim|bootx64|bootaa64/i.test(part(event, "file", event.message));
const SECURE_BOOT = "its console says Access Denied or Security Violation";

/** A boot file came whole, and firmware began anew without it. */
const refused = (
  id: string,
  follows: string,
  pick: (of: { boot: Boot; file: TimelineEvent }) => boolean,
  words: Omit<Found, "seen">,
): Rule => ({
  id,
  kind: "seen",
  follows,
  find(boot) {
    const seen = fetchedThenAnew(boot);
    return seen !== undefined && pick({ boot, file: seen[0]! }) ? { ...words, seen } : undefined;
  },
});

export const FETCH_RULES: readonly Rule[] = [
  told("tftp-unanswered", (event) => ({
    what: `it asked for ${part(event, "file")}, and our answers never reached it`,
    todo: "let UDP from any high port of this server through to it; behind NAT or a port mapping: tftpSinglePort in the boot server's settings",
  })),
  told("tftp-stalled", (event) => ({
    what: `it stopped at block ${part(event, "block")} of ${part(event, "blocks")} of ${part(event, "file")}`,
    todo: "look at its cable and switch port, and at its console; if it always stops at the same block, its firmware has no room for the file",
  })),
  told("tftp-loss", (event) => ({
    what: `it gave up ${part(event, "file")} after ${part(event, "retransmits")} lost packets of ${part(event, "blocks")} blocks`,
    todo: "look for a bad cable, a half-duplex link or a full uplink between it and this server",
  })),
  told("tftp-broken-off", (event) => ({
    what: `its firmware broke off ${part(event, "file")} with ${part(event, "error", "an error")}`,
    todo: "update its firmware, or set it to UEFI instead of legacy BIOS (or the other way round)",
  })),
  told("tftp-unknown-file", (event) => ({
    what: `it asked for ${part(event, "file")}, which is not served here: somebody else tells it what to boot`,
    todo: "take boot file and next server (options 66, 67, siaddr) out of the other DHCP server's settings: flynn doctor network",
  })),
  told("http-broken-off", (event) => ({
    what: `its firmware broke off ${part(event, "file")} over HTTP`,
    todo: "look at its console; set it to PXE instead of HTTP boot if it does so each time",
  })),
  told("ipxe-without-http", {
    what: "the iPXE that it runs speaks no HTTP, and it came back with the same after it fetched ours",
    todo: "update the iPXE in its network card's ROM, or switch the card's own ROM off",
  }),
  told("loader-refused", (event) => ({
    what: `it fetched ${part(event, "loader") === "shim" ? "the signed shim" : "iPXE"} and came back as firmware without running it, as with Secure Boot on (${SECURE_BOOT})`,
    todo:
      event.detail?.["next"] === undefined
        ? "enrol Microsoft's third-party UEFI key in its setup, or switch Secure Boot off there"
        : "wait: it is offered another loader at this try; if that is refused too, switch Secure Boot off in its setup",
  })),
  refused(
    "secure-boot-shim",
    "shim fetched whole, GRUB not, and firmware began anew",
    ({ boot, file }) => isUefi(boot) && isShim(file),
    {
      what: `Secure Boot refused shim after it was fetched (${SECURE_BOOT})`,
      todo: "enrol Microsoft's third-party UEFI key in its setup, or switch Secure Boot off there",
    },
  ),
  refused(
    "secure-boot",
    "UEFI fetched its boot file whole, and began anew with DHCP at once",
    ({ boot, file }) => isUefi(boot) && !isShim(file),
    {
      what: `its firmware fetched the boot file and did not run it: Secure Boot refused it (${SECURE_BOOT})`,
      todo: "switch Secure Boot off in its setup, or boot it by shim: README, Secure Boot",
    },
  ),
  refused(
    "bios-began-anew",
    "BIOS fetched its boot file whole, and began anew with DHCP",
    ({ boot }) => !isUefi(boot),
    {
      what: "it fetched iPXE, which ended, and its BIOS began anew",
      todo: "look at its console: iPXE has no driver for this network card, or its memory below 1 MiB is taken by another option ROM",
    },
  ),
  silence("ipxe-not-run", {
    stage: "tftp",
    patienceMs: 30_000,
    follows: "UEFI fetched its boot file whole",
    when: (boot, last) => (isUefi(boot) && !isShim(last) ? [last] : undefined),
    words: {
      what: "it fetched iPXE and did not come back for a script",
      todo: `look at its console: iPXE has no link or no driver for this network card; or Secure Boot refused it (${SECURE_BOOT})`,
    },
  }),
  silence("shim-alone", {
    stage: "tftp",
    patienceMs: 30_000,
    follows: "UEFI fetched shim whole, and no GRUB",
    when: (boot, last) => (isUefi(boot) && isShim(last) ? [last] : undefined),
    words: {
      what: "it fetched shim, and shim did not fetch GRUB",
      todo: "look at its console: shim names the file that it looks for and why it does not take it",
    },
  }),
  silence("ipxe-no-link", {
    stage: "tftp",
    patienceMs: 30_000,
    follows: "BIOS fetched its boot file whole",
    when: (boot, last) => (isUefi(boot) ? undefined : [last]),
    words: {
      what: "it fetched iPXE, which did not get the network up again",
      todo: "look at its console: iPXE may have no driver for this network card; another card, or UEFI, helps",
    },
  }),
];

// Stalls between the firmware's first DISCOVER and its first fetch.
import type { TimelineEvent } from "#api/machines.ts";
import { type Boot, codeOf, isCode } from "../boot.ts";
import { part, type Rule, silence, told } from "../rule.ts";

const LOOK = "flynn doctor network says which DHCP servers answer there";
const WATCH_MS = 30_000;

/** The steps of the newest exchange: what was offered, and what was taken of it. */
function exchange({ current }: Boot): { offer: TimelineEvent | undefined; taken: TimelineEvent | undefined } {
  const discovered = current.findLastIndex(({ stage }) => stage === "discover");
  const since = current.slice(Math.max(0, discovered));
  const offers = since.filter(({ stage }) => stage === "offer");
  return {
    offer: offers.find((event) => codeOf(event) === undefined),
    taken: offers.find(isCode("address-taken")),
  };
}

/** In full mode what was offered has an address. */
const isFull = (offer: TimelineEvent): boolean => offer.detail?.["address"] !== undefined;
const kindIs = (kind: string) => (event: TimelineEvent) => event.detail?.["kind"] === kind;

type Pick = (of: { offer: TimelineEvent; taken: TimelineEvent | undefined; boot: Boot }) => boolean;
const offered =
  (pick: Pick) =>
  (boot: Boot): readonly TimelineEvent[] | undefined => {
    const { offer, taken } = exchange(boot);
    if (offer === undefined || kindIs("ipxe")(offer) || boot.current.some(isCode("boot-server-asked")))
      return undefined;
    return pick({ offer, taken, boot }) ? [offer, ...(taken === undefined ? [] : [taken])] : undefined;
  };
const rungOf = ({ events }: Boot): number => Number(events.findLast(isCode("rung"))?.detail?.["rung"] ?? 0);

export const DHCP_RULES: readonly Rule[] = [
  told("other-server", (event) => ({
    what: `another DHCP server, ${part(event, "server")}, gave it an address, and it boots by that one's word`,
    todo: `switch that server off, or run beside it: flynn up --dhcp proxy; ${LOOK}`,
  })),
  told("rogue-server", (event) => ({
    what: `a DHCP server that was not there before, ${part(event, "server")} (card ${part(event, "card")}), answered it`,
    todo: `find what has that card, and switch its DHCP server off; ${LOOK}`,
  })),
  told("pool-empty", {
    what: "it asked for an address, and none of the range is free",
    todo: "give a larger range: flynn up --dhcp full --dhcp-range FIRST-LAST; or a shorter --dhcp-lease",
  }),
  told("nak", (event) => ({
    what: `it asked for an address that it may not have (${part(event, "why")}), and was not heard with another`,
    todo: "switch it off and on: it then asks for a new one; if that address is reserved, look at --dhcp-reserve",
  })),
  told("wrong-network", (event) => ({
    what: `it asks from another network than the one that is served here (${event.message})`,
    todo: "put its switch port into the VLAN of the boot interface, or name its relay: flynn up --dhcp-relay IP/PREFIX",
  })),
  told("declined", (event) => ({
    what: `the address that it was given is in use by something else (${part(event, "why", event.message)})`,
    todo: "find what has that address, or leave it out of --dhcp-range; the machine is offered another one at its next try",
  })),
  told("no-boot-file", ({ message }) => ({
    what: message,
    todo: "use another machine, or set its firmware to an architecture that is served; flynn image list says which have an image",
  })),
  told("late-link", (event) => ({
    what: `its first request came only after it had asked for ${part(event, "secs")} s: the switch port comes up late (STP)`,
    todo: "set the switch port to edge (portfast), so that it forwards at once",
  })),
  told("boot-server-again", (event) => ({
    what: `it asked port 4011 ${part(event, "asked")} times and never took the answer`,
    todo: "let UDP from port 4011 of this server through to it (a firewall or a switch's DHCP snooping drops it)",
  })),
  silence("discover-unanswered", {
    stage: "discover",
    patienceMs: 20_000,
    follows: "a DISCOVER without an offer of ours",
    words: {
      what: "it asked for an address and got no offer from us",
      todo: `look at the boot server's log; ${LOOK}`,
    },
  }),
  silence("offer-left", {
    stage: "offer",
    patienceMs: WATCH_MS,
    follows: "an offer with an address that nobody took",
    when: offered(({ offer, taken }) => taken === undefined && isFull(offer)),
    words: (event) => ({
      what: `it was offered the address ${part(event, "address")} and did not take it`,
      todo: `another DHCP server may be faster, or answers do not reach it (VLAN, DHCP snooping): ${LOOK}`,
    }),
  }),
  silence("no-address", {
    stage: "offer",
    patienceMs: WATCH_MS,
    follows: "an offer of a boot file alone, and no address taken of anybody",
    when: offered(({ offer, taken }) => taken === undefined && !isFull(offer)),
    words: {
      what: "it was told what to boot, and no DHCP server of its network gave it an address",
      todo: `let the network's own DHCP server give it one; where there is none: flynn up --dhcp full --dhcp-range FIRST-LAST; ${LOOK}`,
    },
  }),
  silence("4011-never-asked", {
    stage: "offer",
    patienceMs: WATCH_MS,
    follows: "only the offer that names port 4011 left to try, an address taken, and no question at 4011",
    when: offered(({ taken, boot }) => taken !== undefined && rungOf(boot) === 2),
    words: {
      what: "it was sent to port 4011 of this server, and its question never came",
      todo: "let UDP 4011 through to this server; only TCP is not enough",
    },
  }),
  silence("tftp-never-begun", {
    stage: "offer",
    patienceMs: WATCH_MS,
    follows: "the address of our offer taken, and nothing fetched",
    when: offered(
      ({ offer, taken, boot }) => taken !== undefined && isFull(offer) && rungOf(boot) !== 2 && !kindIs("http")(offer),
    ),
    words: (event) => ({
      what: `it took the address ${part(event, "address")} and never asked for its boot file`,
      todo: "let UDP 69 through to this server, and look at its console: network boot must be on for IPv4 on this card",
    }),
  }),
  silence("offer-ignored", {
    stage: "offer",
    patienceMs: WATCH_MS,
    follows: "an address of another server taken, beside our offer of a boot file, and nothing fetched",
    when: offered(
      ({ offer, taken, boot }) => taken !== undefined && !isFull(offer) && rungOf(boot) !== 2 && !kindIs("http")(offer),
    ),
    words: (event) => ({
      what: `it took the address of DHCP server ${part(event, "server")} and left our boot file aside`,
      todo: "take boot file and next server (options 66, 67, siaddr) out of that server's settings; look at the machine's console too",
    }),
  }),
  silence("http-never-begun", {
    stage: "offer",
    patienceMs: WATCH_MS,
    follows: "UEFI HTTP firmware with an address and a URL, and nothing fetched",
    when: offered(({ offer, taken }) => taken !== undefined && kindIs("http")(offer)),
    words: {
      what: "its firmware boots by HTTP, took an address, and never fetched the URL that it was given",
      todo: "let TCP 7780 through to this server; some firmware takes https or listed servers only: set it to PXE then",
    },
  }),
  silence("4011-answered", {
    stage: "offer",
    patienceMs: WATCH_MS,
    follows: "a question at port 4011 that was answered, and nothing fetched",
    when: ({ current }) => {
      const asked = current.find(isCode("boot-server-asked"));
      return asked === undefined ? undefined : [asked];
    },
    words: {
      what: "it asked port 4011, was told its boot file, and never asked for it",
      todo: "let UDP 69 through to this server, and UDP from port 4011 back to it",
    },
  }),
  silence("ipxe-no-script", {
    stage: "offer",
    patienceMs: WATCH_MS,
    follows: "an offer to iPXE, and no script fetched",
    when: (boot) => {
      const { offer } = exchange(boot);
      return offer !== undefined && kindIs("ipxe")(offer) ? [offer] : undefined;
    },
    words: {
      what: "its iPXE runs and was told where its script is, and never fetched it",
      todo: "let TCP 7780 through to this server; look at its console for what iPXE says",
    },
  }),
];

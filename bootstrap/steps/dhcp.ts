// DHCP decisions as steps of a machine's timeline, in plain words. Firmware repeats itself: the same step of the same machine within half a
// minute is told once.
import type { BootCode } from "#api/boot-codes.ts";
import { BOOTS_ONLY, type Claimed, type Observed, unbootable, unbootableTodo } from "#api/machine-identity.ts";
import type { Client } from "../dhcp/classify.ts";
import type { Lesson } from "../dhcp/learnt.ts";
import type { Loader, Rung } from "../dhcp/loader.ts";
import { type Decision, WRONG_NETWORK } from "../dhcp/offer.ts";
import { identityOfClient } from "../identity/claim.ts";
import { countIn, onceIn } from "../once-in.ts";
import { isProbe } from "../preflight/card.ts";
import type { Timeline } from "../timeline.ts";

const REPEAT_MS = 30_000;
/** EDK2 asks port 4011 four times before it gives up. */
const BOOT_SERVER_ASKS = 3;
/** The first request that is heard came that late into its attempts (RFC 2131 `secs`): the ones before it were lost. */
const LATE_SECONDS = 20;
const SHAPES = ["both offers at once", "the direct offer alone", "the offer of port 4011 alone"] as const;
const KIND_WORDS: Record<Client["kind"], string> = {
  pxe: "firmware",
  http: "UEFI HTTP firmware",
  ipxe: "iPXE",
  os: "the operating system",
};

type Sink = Pick<Timeline, "record">;

interface DhcpStepsOptions {
  timeline: Sink;
  mode: "full" | "proxy";
  /** What a server is that was not there at the start, or that boots machines as we do. */
  rogue?: (server: string) => { card?: string | undefined } | undefined;
  nowMs?: () => number;
}

export function dhcpSteps({ timeline, mode, rogue = () => undefined, nowMs }: DhcpStepsOptions) {
  const isNews = onceIn(REPEAT_MS, nowMs);
  const asked = countIn(REPEAT_MS, nowMs);
  return (client: Client, decision: Decision, rung: Rung = 0): void => {
    const { mac, kind } = client;
    if (isProbe(mac)) return;
    const claimed = identityOfClient(client);
    const who = KIND_WORDS[kind];
    const note = (code: BootCode, message: string, detail: Record<string, string | number> = {}) =>
      timeline.record({ claimed, stage: "note", level: "warning", message, detail: { code, ...detail } });
    const { otherServer: server } = decision;
    const stranger = server === undefined || kind === "os" ? undefined : rogue(server);
    if (server !== undefined && stranger !== undefined) {
      const { card = "unknown" } = stranger;
      const message = `${who} takes the address of DHCP server ${server} (card ${card}), which was not there before`;
      if (isNews(`rogue ${mac} ${server}`)) note("rogue-server", message, { server, card });
      return;
    }
    // Of an operating system once for all: it takes its address from whom it likes. Of a machine that boots, each: it boots from there.
    if (server !== undefined && mode === "full" && isNews(`other ${kind === "os" ? "" : mac} ${server}`))
      note("other-server", `another DHCP server answers on this network: ${server}; use proxy mode, or switch it off`, {
        server,
      });
    if (kind === "os") return;
    const detail: Record<string, string> = { kind };
    if (decision.noBootFile) {
      const todo = unbootableTodo(unbootable(claimed) ?? "");
      const { architecture = "unknown" } = claimed;
      if (isNews(`no file ${mac}`))
        note("no-boot-file", `${decision.reason}; ${BOOTS_ONLY}: ${todo}`, { architecture });
      return;
    }
    if (decision.problem !== undefined) {
      if (isNews(`${decision.problem} ${mac}`)) note(decision.problem, `${who} got no answer: ${decision.reason}`);
      return;
    }
    const taken = decision.step === "ack" ? decision.lease?.address : undefined;
    if ((taken !== undefined || (server !== undefined && mode === "proxy")) && isNews(`taken ${mac} ${kind}`)) {
      const from = server === undefined ? "" : ` of DHCP server ${server}`;
      timeline.record({
        claimed,
        stage: "offer",
        message: `${who} takes ${taken === undefined ? "the address" : `address ${taken}`}${from}`,
        detail: {
          ...detail,
          code: "address-taken",
          ...(taken === undefined ? {} : { address: taken }),
          ...(server === undefined ? {} : { server }),
        },
      });
      return;
    }
    const first = decision.replies[0]?.packet;
    Object.assign(detail, {
      ...(first && first.yiaddr !== "0.0.0.0" ? { address: first.yiaddr } : {}),
      ...(first?.file ? { file: first.file } : {}),
    });
    if (decision.step === "offer") {
      const withoutHttp: Record<string, string> = client.isBareIpxe ? { code: "ipxe-without-http" } : {};
      if (isNews(`discover ${mac} ${kind}`)) {
        timeline.record({
          claimed,
          stage: "discover",
          message: `${client.isBareIpxe ? "iPXE without HTTP" : who} looks for a boot server`,
          detail: { kind, ...withoutHttp },
        });
        if (client.seconds >= LATE_SECONDS)
          timeline.record({
            claimed,
            stage: "discover",
            level: "warning",
            message: `the first request that arrived here says that ${who} had asked for ${client.seconds} s already: the switch port comes up late (spanning tree); make it an edge port (portfast)`,
            detail: { code: "late-link", secs: client.seconds },
          });
      }
      if (rung !== 0 && isNews(`rung ${mac} ${rung}`))
        timeline.record({
          claimed,
          stage: "offer",
          message: `${who} ignored what it was offered; it is shown ${SHAPES[rung]}`,
          detail: { code: "rung", rung },
        });
      if (isNews(`offer ${mac} ${kind}`))
        timeline.record({ claimed, stage: "offer", message: `${who} was offered what to boot`, detail });
    } else if (decision.step === "boot-file") {
      if (isNews(`4011 ${mac}`))
        timeline.record({
          claimed,
          stage: "offer",
          message: `${who} asked port 4011 and was told what to boot`,
          detail: { ...detail, code: "boot-server-asked" },
        });
      const times = asked(mac);
      if (times === BOOT_SERVER_ASKS)
        timeline.record({
          claimed,
          stage: "offer",
          level: "warning",
          message: `${who} asked port 4011 ${times} times in a row: no answer reaches it`,
          detail: { ...detail, code: "boot-server-again", asked: times },
        });
    } else if (decision.step === "nak" || decision.step === "decline") {
      const { step, reason = "" } = decision;
      const verb = step === "nak" ? "was refused the address it asked for" : "declined its address";
      const code = step === "decline" ? "declined" : reason === WRONG_NETWORK ? "wrong-network" : "nak";
      note(code, `${who} ${verb}: ${reason}`, { why: reason });
    }
  };
}

const LOADER_WORDS: Readonly<Record<Loader, string>> = {
  ipxe: "iPXE",
  shim: "Debian's signed shim and GRUB",
  uki: "the signed image",
};

/** What was learnt of a machine's firmware, where it is not what every firmware does. */
export function loaderSteps({ timeline }: { timeline: Sink }) {
  const isNews = onceIn(REPEAT_MS);
  return {
    refused(client: Client, loader: Loader, next: Loader | undefined): void {
      if (!isNews(`${client.mac} ${loader}`)) return;
      const came = `it fetched ${LOADER_WORDS[loader]} and came back as firmware`;
      const why = loader === "shim" ? " without asking for its script" : ": it did not run it, as with Secure Boot on";
      const offered = next === undefined ? "" : `; it is offered ${LOADER_WORDS[next]} now`;
      const message = `${came}${why}${offered}`;
      timeline.record({
        claimed: identityOfClient(client),
        stage: "note",
        level: "warning",
        message,
        detail: { code: "loader-refused", loader, ...(next === undefined ? {} : { next }), vendor: client.firmware },
      });
    },
    learnt({ rung, loader, kind, product }: Lesson, claimed: Claimed, observed: Observed): void {
      if (rung === 0 && loader === "ipxe") return;
      const by = `by ${LOADER_WORDS[loader]}`;
      timeline.record({
        claimed,
        observed,
        stage: "offer",
        message: `learnt of its firmware: it boots ${by}, from ${SHAPES[rung]}; kept for its next boots, and tried first with others of its kind`,
        detail: { code: "firmware-learnt", rung, loader, vendor: kind, ...(product === undefined ? {} : { product }) },
      });
    },
  };
}

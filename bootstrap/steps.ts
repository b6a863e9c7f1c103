// DHCP decisions and finished transfers as steps of a machine's timeline, in plain words. Firmware repeats itself: the same
// step of the same machine within half a minute is told once.

import type { BootCode } from "#api/boot-codes.ts";
import { BOOTS_ONLY, type Claimed, type Observed, unbootable, unbootableTodo } from "#api/machine-identity.ts";
import { formatDuration, formatSize } from "#lib/units.ts";
import { isOptional, loaderOf } from "./dhcp/boot-files.ts";
import type { Client } from "./dhcp/classify.ts";
import type { Ladder } from "./dhcp/ladder.ts";
import type { Lesson } from "./dhcp/learnt.ts";
import type { Loader, Rung } from "./dhcp/loader.ts";
import { type Decision, WRONG_NETWORK } from "./dhcp/offer.ts";
import type { BootFileFetch } from "./http/boot-file.ts";
import { identityOfClient } from "./identity/claim.ts";
import type { BootRecord } from "./identity/tokens.ts";
import type { Transfer } from "./images.ts";
import { isProbe } from "./preflight/card.ts";
import type { TransferEvent } from "./tftp/server.ts";
import type { Happening, Timeline } from "./timeline.ts";

const REPEAT_MS = 30_000;
const MAX_REMEMBERED = 16_384;
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

interface Fetching {
  timeline: Sink;
  cardAt: (address: string) => string | undefined;
  ladder: Pick<Ladder, "progressed" | "fetched">;
}

export function tftpSteps({ timeline, cardAt, ladder }: Fetching) {
  const isNews = onceIn(REPEAT_MS);
  return (event: TransferEvent): void => {
    const mac = cardAt(event.client.address);
    if (mac === undefined || event.kind === "start") return;
    ladder.progressed(mac);
    const loader = loaderOf(event.name);
    if (event.kind === "done" && loader !== undefined) ladder.fetched(mac, loader);
    const seen = { claimed: { mac }, observed: { card: mac, address: event.client.address } };
    const { name: file, bytes, retransmits } = event;
    const detail = { file, bytes, retransmits };
    if (event.kind === "done") {
      timeline.record({
        ...seen,
        stage: "tftp",
        message: `fetched ${file}: ${formatSize(bytes)} in ${formatDuration(event.ms)}`,
        detail,
      });
      return;
    }
    const code = abortCode(event);
    if (code === undefined || !isNews(`tftp ${mac} ${file}`)) return;
    const blocks = Math.floor(event.sizeBytes / event.blksize) + 1;
    const block = Math.floor(bytes / event.blksize);
    const message = `${file} stopped at ${formatSize(bytes)} of ${formatSize(event.sizeBytes)}: ${event.detail}`;
    timeline.record({
      ...seen,
      stage: "tftp",
      level: "warning",
      message,
      detail: { ...detail, code, block, blocks, error: event.detail.slice(0, 100) },
    });
  };
}

/** Resends of a transfer that only stopped: those of its last window, some ten times. */
const RESENDS_OF_A_STOP = 12;

/** What an end before the last block means; undefined for one that says nothing. */
function abortCode({ why, bytes, retransmits, windowsize }: TransferEvent & { kind: "aborted" }): BootCode | undefined {
  const lossy = retransmits > RESENDS_OF_A_STOP * windowsize;
  switch (why) {
    case "timeout":
      return bytes === 0 ? "tftp-unanswered" : lossy ? "tftp-loss" : "tftp-stalled";
    case "time-limit":
      return "tftp-loss";
    case "client-error":
      return lossy ? "tftp-loss" : "tftp-broken-off";
    default:
      return undefined;
  }
}

/**
 * Firmware and shim ask for files that need not be there, so this is no warning: that nothing else was fetched is what the doctor
 * looks at.
 */
export function unknownFileSteps({ timeline, cardAt }: Pick<Fetching, "timeline" | "cardAt">) {
  const isNews = onceIn(REPEAT_MS);
  return (name: string, address: string): void => {
    const mac = cardAt(address);
    const file = name.slice(0, 100);
    if (mac === undefined || isOptional(file) || !isNews(`${mac} ${file}`)) return;
    timeline.record({
      claimed: { mac },
      observed: { card: mac, address },
      stage: "note",
      message: `asked for ${file}, which is not served`,
      detail: { code: "tftp-unknown-file", file },
    });
  };
}

/** What UEFI HTTP firmware fetches instead: the same step of a boot, by the other way. */
export function httpFileSteps({ timeline, cardAt, ladder }: Fetching) {
  const isNews = onceIn(REPEAT_MS);
  return ({ name, sizeBytes, complete, durationMs }: BootFileFetch, address: string): void => {
    const mac = cardAt(address);
    if (mac === undefined) return;
    ladder.progressed(mac);
    const loader = loaderOf(name);
    if (complete && loader !== undefined) ladder.fetched(mac, loader);
    if (!isNews(`http ${mac} ${name} ${complete}`)) return;
    const took = formatDuration(durationMs);
    timeline.record({
      claimed: { mac },
      observed: { card: mac, address },
      stage: "tftp",
      level: complete ? "info" : "warning",
      message: complete
        ? `fetched ${name} over HTTP: ${formatSize(sizeBytes)} in ${took}`
        : `${name} over HTTP stopped after ${took}: the machine went away`,
      detail: { file: name, ...(complete ? { bytes: sizeBytes } : { code: "http-broken-off" }) },
    });
  };
}

export function transferStep(
  transfer: Transfer,
  boot: Pick<BootRecord, "mac"> & { bootId?: string },
  observed: Observed,
): Happening {
  const { artefact, sentBytes, askedBytes, durationMs } = transfer;
  const complete = sentBytes === askedBytes;
  const size = complete ? formatSize(sentBytes) : `stopped at ${formatSize(sentBytes)} of ${formatSize(askedBytes)}`;
  return {
    claimed: { mac: boot.mac },
    observed,
    ...(boot.bootId === undefined ? {} : { bootId: boot.bootId }),
    imageId: artefact.imageId,
    stage: artefact.part === "uki" ? "kernel" : artefact.part,
    level: complete ? "info" : "warning",
    message: `${complete ? "fetched " : ""}${artefact.name}: ${size} in ${formatDuration(durationMs)}`,
    detail: {
      bytes: sentBytes,
      ms: Math.round(durationMs),
      ...(complete ? {} : { code: "transfer-stopped", sizeBytes: askedBytes }),
    },
  };
}

export function onceIn(ms: number, nowMs: () => number = () => performance.now()): (what: string) => boolean {
  const last = new Map<string, number>();
  return (what) => {
    const now = nowMs();
    const before = last.get(what);
    last.delete(what);
    last.set(what, before !== undefined && now - before < ms ? before : now);
    if (last.size > MAX_REMEMBERED) last.delete(last.keys().next().value!);
    return before === undefined || now - before >= ms;
  };
}

/** How often this was so, with no more than this time between one and the next. */
function countIn(ms: number, nowMs: () => number = () => performance.now()): (what: string) => number {
  const last = new Map<string, { times: number; atMs: number }>();
  return (what) => {
    const now = nowMs();
    const before = last.get(what);
    const times = before !== undefined && now - before.atMs < ms ? before.times + 1 : 1;
    last.delete(what);
    last.set(what, { times, atMs: now });
    if (last.size > MAX_REMEMBERED) last.delete(last.keys().next().value!);
    return times;
  };
}

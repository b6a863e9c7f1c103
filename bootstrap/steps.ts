// DHCP decisions and finished transfers as steps of a machine's timeline, in plain words. Firmware repeats itself: the same
// step of the same machine within half a minute is told once.
import { BOOTS_ONLY, type Observed, unbootable, unbootableTodo } from "#api/machine-identity.ts";
import { formatDuration, formatSize } from "#lib/units.ts";
import type { Client } from "./dhcp/classify.ts";
import type { Decision } from "./dhcp/offer.ts";
import type { Transfer } from "./http/artefacts.ts";
import type { BootFileFetch } from "./http/boot-file.ts";
import { identityOfClient } from "./identity/claim.ts";
import type { BootRecord } from "./identity/tokens.ts";
import type { TransferEvent } from "./tftp/server.ts";
import type { Happening, Timeline } from "./timeline.ts";

const REPEAT_MS = 30_000;
const MAX_REMEMBERED = 16_384;
const KIND_WORDS: Record<Client["kind"], string> = {
  pxe: "firmware",
  http: "UEFI HTTP firmware",
  ipxe: "iPXE",
  os: "the operating system",
};

type Sink = Pick<Timeline, "record">;

export function dhcpSteps({ timeline, mode }: { timeline: Sink; mode: "full" | "proxy" }) {
  const isNews = onceIn(REPEAT_MS);
  return (client: Client, decision: Decision): void => {
    const { mac, kind } = client;
    const claimed = identityOfClient(client);
    const who = KIND_WORDS[kind];
    if (decision.otherServer !== undefined && mode === "full" && isNews(`other ${decision.otherServer}`)) {
      const message = `another DHCP server answers on this network: ${decision.otherServer}; use proxy mode, or switch it off`;
      timeline.record({ claimed, stage: "note", level: "warning", message, detail: { server: decision.otherServer } });
    }
    if (kind === "os") return;
    if (decision.noBootFile) {
      const todo = unbootableTodo(unbootable(claimed) ?? "");
      const message = `${decision.reason}; ${BOOTS_ONLY}: ${todo}`;
      if (isNews(`no file ${mac}`)) timeline.record({ claimed, stage: "note", level: "warning", message });
      return;
    }
    const first = decision.replies[0]?.packet;
    const detail: Record<string, string> = {
      kind,
      ...(first && first.yiaddr !== "0.0.0.0" ? { address: first.yiaddr } : {}),
      ...(first?.file ? { file: first.file } : {}),
    };
    if (decision.step === "offer") {
      if (isNews(`discover ${mac} ${kind}`))
        timeline.record({ claimed, stage: "discover", message: `${who} looks for a boot server`, detail: { kind } });
      if (isNews(`offer ${mac} ${kind}`))
        timeline.record({ claimed, stage: "offer", message: `${who} was offered what to boot`, detail });
    } else if (decision.step === "boot-file" && isNews(`4011 ${mac}`)) {
      timeline.record({
        claimed,
        stage: "offer",
        message: `${who} asked port 4011 and was told what to boot`,
        detail,
      });
    } else if (decision.step === "nak" || decision.step === "decline") {
      const verb = decision.step === "nak" ? "was refused the address it asked for" : "declined its address";
      timeline.record({ claimed, stage: "note", level: "warning", message: `${who} ${verb}: ${decision.reason}` });
    }
  };
}

interface Fetching {
  timeline: Sink;
  cardAt: (address: string) => string | undefined;
  progressed: (mac: string) => void;
}

export function tftpSteps({ timeline, cardAt, progressed }: Fetching) {
  const isNews = onceIn(REPEAT_MS);
  return (event: TransferEvent): void => {
    const mac = cardAt(event.client.address);
    if (mac === undefined || event.kind === "start") return;
    progressed(mac);
    const seen = { claimed: { mac }, observed: { card: mac, address: event.client.address } };
    const detail = { file: event.name, bytes: event.bytes, retransmits: event.retransmits };
    if (event.kind === "done") {
      timeline.record({
        ...seen,
        stage: "tftp",
        message: `fetched ${event.name}: ${formatSize(event.bytes)} in ${formatDuration(event.ms)}`,
        detail,
      });
    } else if (event.why === "timeout" && isNews(`tftp ${mac} ${event.name}`)) {
      const message = `${event.name} stopped at ${formatSize(event.bytes)} of ${formatSize(event.sizeBytes)}: ${event.detail}`;
      timeline.record({ ...seen, stage: "tftp", level: "warning", message, detail });
    }
  };
}

/** What UEFI HTTP firmware fetches instead: the same step of a boot, by the other way. */
export function httpFileSteps({ timeline, cardAt, progressed }: Fetching) {
  const isNews = onceIn(REPEAT_MS);
  return ({ name, sizeBytes, complete, durationMs }: BootFileFetch, address: string): void => {
    const mac = cardAt(address);
    if (mac === undefined) return;
    progressed(mac);
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
      detail: { file: name, ...(complete ? { bytes: sizeBytes } : {}) },
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
    stage: artefact.part,
    level: complete ? "info" : "warning",
    message: `${complete ? "fetched " : ""}${artefact.name}: ${size} in ${formatDuration(durationMs)}`,
    detail: { bytes: sentBytes, ms: Math.round(durationMs) },
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

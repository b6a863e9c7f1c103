// DHCP decisions and finished transfers as steps of a machine's timeline, in plain words. Firmware repeats itself: the same
// step of the same machine within half a minute is told once.
import type { MachineIdentity } from "#api/machines.ts";
import { formatDuration, formatSize } from "#lib/units.ts";
import type { Client } from "./dhcp/classify.ts";
import type { Decision } from "./dhcp/offer.ts";
import type { Transfer } from "./http/artefacts.ts";
import type { Machines } from "./machines.ts";
import type { TransferEvent } from "./tftp/server.ts";
import type { Happening, Timeline } from "./timeline.ts";
import type { BootRecord } from "./tokens.ts";

const REPEAT_MS = 30_000;
const MAX_REMEMBERED = 16_384;
const KIND_WORDS: Record<Client["kind"], string> = {
  pxe: "firmware",
  http: "UEFI HTTP firmware",
  ipxe: "iPXE",
  os: "the operating system",
};

type Sink = Pick<Timeline, "record">;

export function dhcpSteps({
  timeline,
  machines,
  mode,
}: {
  timeline: Sink;
  machines: Machines;
  mode: "full" | "proxy";
}) {
  const isNews = onceIn(REPEAT_MS);
  return (client: Client, decision: Decision): void => {
    const { mac, kind } = client;
    const identity = machines.identity(mac);
    const who = KIND_WORDS[kind];
    if (decision.otherServer !== undefined && mode === "full" && isNews(`other ${decision.otherServer}`)) {
      const message = `another DHCP server answers on this network: ${decision.otherServer}; use proxy mode, or switch it off`;
      timeline.record({ identity, stage: "note", level: "warning", message, detail: { server: decision.otherServer } });
    }
    if (kind === "os") return;
    const first = decision.replies[0]?.packet;
    const detail: Record<string, string> = {
      kind,
      ...(first && first.yiaddr !== "0.0.0.0" ? { address: first.yiaddr } : {}),
      ...(first?.file ? { file: first.file } : {}),
    };
    if (decision.step === "offer") {
      if (isNews(`discover ${mac} ${kind}`))
        timeline.record({ identity, stage: "discover", message: `${who} looks for a boot server`, detail: { kind } });
      if (isNews(`offer ${mac} ${kind}`))
        timeline.record({ identity, stage: "offer", message: `${who} was offered what to boot`, detail });
    } else if (decision.step === "boot-file" && isNews(`4011 ${mac}`)) {
      timeline.record({
        identity,
        stage: "offer",
        message: `${who} asked port 4011 and was told what to boot`,
        detail,
      });
    } else if (decision.step === "nak" || decision.step === "decline") {
      const verb = decision.step === "nak" ? "was refused the address it asked for" : "declined its address";
      timeline.record({ identity, stage: "note", level: "warning", message: `${who} ${verb}: ${decision.reason}` });
    }
  };
}

export function tftpSteps({
  timeline,
  machines,
  macAt,
  progressed,
}: {
  timeline: Sink;
  machines: Machines;
  macAt: (address: string) => string | undefined;
  progressed: (mac: string) => void;
}) {
  const isNews = onceIn(REPEAT_MS);
  return (event: TransferEvent): void => {
    const mac = macAt(event.client.address);
    if (mac === undefined || event.kind === "start") return;
    progressed(mac);
    const identity = machines.identity(mac);
    const detail = { file: event.name, bytes: event.bytes, retransmits: event.retransmits };
    if (event.kind === "done") {
      timeline.record({
        identity,
        stage: "tftp",
        message: `fetched ${event.name}: ${formatSize(event.bytes)} in ${formatDuration(event.ms)}`,
        detail,
      });
    } else if (event.why === "timeout" && isNews(`tftp ${mac} ${event.name}`)) {
      const message = `${event.name} stopped at ${formatSize(event.bytes)} of ${formatSize(event.sizeBytes)}: ${event.detail}`;
      timeline.record({ identity, stage: "tftp", level: "warning", message, detail });
    }
  };
}

export function transferStep(transfer: Transfer, boot: BootRecord, identity: MachineIdentity): Happening {
  const { artefact, sentBytes, askedBytes, durationMs } = transfer;
  const complete = sentBytes === askedBytes;
  const size = complete ? formatSize(sentBytes) : `stopped at ${formatSize(sentBytes)} of ${formatSize(askedBytes)}`;
  return {
    identity,
    bootId: boot.bootId,
    imageId: artefact.imageId,
    stage: artefact.part,
    level: complete ? "info" : "warning",
    message: `${complete ? "fetched " : ""}${artefact.name}: ${size} in ${formatDuration(durationMs)}`,
    detail: { bytes: sentBytes, ms: Math.round(durationMs) },
  };
}

function onceIn(ms: number): (what: string) => boolean {
  const last = new Map<string, number>();
  return (what) => {
    const now = performance.now();
    const before = last.get(what);
    last.delete(what);
    last.set(what, before !== undefined && now - before < ms ? before : now);
    if (last.size > MAX_REMEMBERED) last.delete(last.keys().next().value!);
    return before === undefined || now - before >= ms;
  };
}

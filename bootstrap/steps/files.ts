// What machines fetched, as steps of a machine's timeline, in plain words: boot files over TFTP and HTTP, and the parts of images.
import type { BootCode } from "#api/boot-codes.ts";
import type { Observed } from "#api/machine-identity.ts";
import { formatDuration, formatSize } from "#lib/units.ts";
import { isOptional, loaderOf } from "../dhcp/boot-files.ts";
import type { Ladder } from "../dhcp/ladder.ts";
import type { BootFileFetch } from "../http/boot-file.ts";
import type { BootRecord } from "../identity/tokens.ts";
import type { Transfer } from "../images.ts";
import { onceIn } from "../once-in.ts";
import type { TransferEvent } from "../tftp/server.ts";
import type { Happening, Timeline } from "../timeline.ts";

const REPEAT_MS = 30_000;
type Sink = Pick<Timeline, "record">;

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

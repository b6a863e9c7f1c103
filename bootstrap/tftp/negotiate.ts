// What is agreed from the options of a read request: blksize (RFC 2348), tsize and timeout (RFC 2349), windowsize
// (RFC 7440). What is unknown, malformed or out of range is left out of the OACK (RFC 2347), never refused.
import type { Options } from "./packet.ts";

export interface Caps {
  /** Largest block sent: 1468 keeps a datagram whole on Ethernet (1500 - 20 IP - 8 UDP - 4 TFTP). */
  blksizeBytes: number;
  windowsize: number;
  /** Bytes in flight: below what a client's default receive buffer holds, or each burst would lose its tail. */
  windowBytes: number;
}

export const DEFAULT_CAPS: Caps = { blksizeBytes: 1468, windowsize: 64, windowBytes: 128 * 1024 };

export interface Agreement {
  blksize: number;
  windowsize: number;
  /** What the client asked as its retransmission timeout, if it asked. */
  timeoutMs: number | undefined;
  /** What to put in the OACK; empty means no OACK but DATA 1 (RFC 2347). */
  oack: Options;
}

const RFC1350_BLKSIZE = 512;

export function negotiate(asked: Options, sizeBytes: number, caps: Caps = DEFAULT_CAPS): Agreement {
  const blksizeAsked = integer(asked.get("blksize"), 8, 0xffffffff); // more than RFC 2348's 65464 is lowered like the rest
  const blksize = blksizeAsked === undefined ? RFC1350_BLKSIZE : Math.min(blksizeAsked, caps.blksizeBytes);
  const windowAsked = integer(asked.get("windowsize"), 1, 65535);
  const windowCap = Math.max(1, Math.min(caps.windowsize, Math.floor(caps.windowBytes / blksize)));
  const windowsize = Math.min(windowAsked ?? 1, windowCap);
  const timeoutSeconds = integer(asked.get("timeout"), 1, 255);
  const oack = new Map<string, string>();
  for (const name of asked.keys()) {
    if (name === "blksize" && blksizeAsked !== undefined) oack.set(name, String(blksize));
    else if (name === "windowsize" && windowAsked !== undefined) oack.set(name, String(windowsize));
    else if (name === "timeout" && timeoutSeconds !== undefined) oack.set(name, String(timeoutSeconds));
    else if (name === "tsize" && integer(asked.get(name), 0, Number.MAX_SAFE_INTEGER) !== undefined)
      oack.set(name, String(sizeBytes));
  }
  return { blksize, windowsize, timeoutMs: timeoutSeconds === undefined ? undefined : timeoutSeconds * 1000, oack };
}

function integer(text: string | undefined, least: number, most: number): number | undefined {
  if (text === undefined || !/^\d{1,16}$/.test(text)) return undefined;
  const value = Number(text);
  return value >= least && value <= most ? value : undefined;
}

// Which network card an IPv4 address on our own wire belongs to, as the kernel's neighbour table has it.
import { readFileSync } from "node:fs";
import { rateLimit } from "../rate.ts";

/** The card of an address; `expected` is what the asker says, for which a kept answer that disagrees is not good enough. */
export type Neighbours = (address: string, expected?: string) => string | undefined;

const MAX_AGE_MS = 250; // a flood of requests reads the table four times a second
const REREADS_PER_SECOND = 50; // and those that the kept table does not know, so often at most
const COMPLETE = 0x2;

export function kernelNeighbours(
  interfaceName: string,
  { path = "/proc/net/arp", nowMs = () => performance.now() } = {},
): Neighbours {
  const rereads = rateLimit({ perSecond: REREADS_PER_SECOND, burst: REREADS_PER_SECOND, maxKeys: 1, nowMs });
  let table = new Map<string, string>();
  let readAtMs = Number.NEGATIVE_INFINITY;
  const read = () => {
    table = parseArpTable(readFileSync(path, "latin1"), interfaceName);
    readAtMs = nowMs();
  };
  return (address, expected) => {
    if (nowMs() - readAtMs > MAX_AGE_MS) read();
    const card = table.get(address);
    if ((card === undefined || (expected !== undefined && card !== expected)) && rereads.take("")) read();
    return table.get(address);
  };
}

export function parseArpTable(text: string, interfaceName: string): Map<string, string> {
  const table = new Map<string, string>();
  for (const row of text.split("\n").slice(1)) {
    const [address, , flags, mac, , device] = row.trim().split(/\s+/);
    if (address && mac && device === interfaceName && Number(flags) & COMPLETE) table.set(address, mac.toLowerCase());
  }
  return table;
}

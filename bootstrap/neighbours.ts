// Which network card an IPv4 address on our own wire belongs to, as the kernel's neighbour table has it.
import { readFileSync } from "node:fs";

export type Neighbours = (address: string) => string | undefined;

const MAX_AGE_MS = 250; // a flood of requests reads the table four times a second
const COMPLETE = 0x2;

export function kernelNeighbours(interfaceName: string, path = "/proc/net/arp"): Neighbours {
  let table = new Map<string, string>();
  let readAtMs = Number.NEGATIVE_INFINITY;
  const read = () => {
    table = parseArpTable(readFileSync(path, "latin1"), interfaceName);
    readAtMs = performance.now();
  };
  return (address) => {
    if (performance.now() - readAtMs > MAX_AGE_MS) read();
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

// Control's addresses, looked up again and again: a name may lead elsewhere tomorrow, and where it led before is kept for as long as
// the name servers do not answer.
import { lookup } from "node:dns/promises";
import { isIPv4 } from "node:net";
import { deadline } from "#lib/time.ts";

const TIMEOUT_MS = 3_000;

/** IPv4 addresses of the URLs' hosts, and those given beside. */
export async function addressesOf(
  urls: readonly string[],
  beside: readonly string[],
  before: readonly string[] = [],
): Promise<string[]> {
  const names = urls.map((url) => new URL(url).hostname);
  const found = await Promise.allSettled(
    names.map(async (name) => {
      if (isIPv4(name)) return [name];
      const rows = await deadline(lookup(name, { all: true, family: 4 }), TIMEOUT_MS, `look up ${name}`);
      return rows.map(({ address }) => address);
    }),
  );
  const failed = found.some(({ status }) => status === "rejected");
  const addresses = found.flatMap((one) => (one.status === "fulfilled" ? one.value : []));
  return [...new Set([...addresses, ...beside, ...(failed ? before : [])])].sort();
}

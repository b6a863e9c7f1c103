// What an address of a BMC may not be, on the word of whoever may write machines: boot servers speak to it. Pure.
import { isIP } from "node:net";
import { isWithin, plainAddress, rangesOf } from "#lib/address-ranges.ts";

/** Translations of IPv4, which lead wherever the IPv4 address in them does. */
const TRANSLATED = ["64:ff9b::/32", "2002::/16"];
const OWN_NAMES = /^(?:.*\.)?(?:localhost|localhost\.localdomain|ip6-localhost|ip6-loopback)$/;

/** Why nobody's BMC is there; undefined when one may be. */
export function whyNoBmc(address: string, jobNetwork: string): string | undefined {
  // A BMC in software, beside its boot server, is set by a plain address.
  if (/^127(?:\.\d{1,3}){3}(?::\d+)?$/.test(address)) return undefined;
  const host = hostOf(address);
  if (host === undefined) return `${address} is no address of a BMC: it is none at all`;
  const isOfNone =
    isIP(host) === 0
      ? OWN_NAMES.test(host)
      : isWithin([jobNetwork, ...TRANSLATED, ...rangesOf("nowhere", "loopback", "metadata")], host);
  return isOfNone
    ? `${host} is no address of a BMC: it is one of jobs, of the boot server itself, of a cloud's metadata, or of no machine`
    : undefined;
}

/** As those that dial it read it: `2852039166`, `0xa9fea9fe` and `[::ffff:a9fe:a9fe]` are one IPv4 address. */
function hostOf(address: string): string | undefined {
  const url = URL.parse(`http://${address}/`);
  if (url === null) return undefined;
  return plainAddress(url.hostname.replace(/^\[(.*)\]$/, "$1")).replace(/\.$/, "");
}

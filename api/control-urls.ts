// Where control is: the addresses a member was configured with, then those that control's targets name since. A target is kept over a
// restart, so an address that came later is not forgotten; one that is wrong costs a try, since control is known by its certificate.
import { type Static, Type } from "typebox";

const MOST = 16;

export const ControlUrls = Type.Array(Type.String(), {
  description:
    "https://host:port of control, tried after those a member was configured with. Left out by an older control.",
});

/** In the order to try them. `learned` comes from a target, kept or received: what is no address in it is left out. */
export function knownUrls(configured: readonly string[], learned: Static<typeof ControlUrls> | undefined): string[] {
  const found: unknown[] = Array.isArray(learned) ? learned : [];
  const usable = found.filter((url): url is string => typeof url === "string" && isControlUrl(url));
  return [...new Set([...configured, ...usable])].slice(0, Math.max(MOST, configured.length));
}

function isControlUrl(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && url.protocol === "https:" && url.pathname === "/" && url.username === "" && url.search === "";
}

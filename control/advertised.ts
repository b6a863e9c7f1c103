// Addresses that others reach this control by: those configured, else every address of this machine that may lead to it. Pure.
import type { NetworkInterfaceInfo } from "node:os";
import { isContainerLink, isLinkLocal } from "#lib/address-ranges.ts";

export function advertised(
  configured: readonly string[],
  interfaces: Partial<Record<string, readonly NetworkInterfaceInfo[]>>,
): string[] {
  if (configured.length > 0) return [...configured];
  const own = Object.entries(interfaces)
    .filter(([name]) => !isContainerLink(name))
    .flatMap(([, list]) => list ?? [])
    .filter(({ family, internal }) => family === "IPv4" && !internal)
    .map(({ address }) => address);
  const reached = own.filter((address) => !isLinkLocal(address));
  if (reached.length > 0) return reached;
  return own.length > 0 ? own : ["127.0.0.1"];
}

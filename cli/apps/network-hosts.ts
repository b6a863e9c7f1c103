// Which hosts a change of what apps reach still waits for. Pure.
import type { NetworkHost } from "#api/network.ts";

/** Hosts that the change concerns, that can say what they enforce, and that do not enforce it yet. A host whose version is older is not concerned. */
export function behind(hosts: readonly NetworkHost[], version: number): NetworkHost[] {
  return hosts.filter(
    (host) => host.state === "behind" && host.version >= version && (host.enforcedVersion ?? 0) < version,
  );
}

/** What is to be said of hosts that are not waited for; empty when there is none. */
export function unproven(hosts: readonly NetworkHost[], version: number): string {
  const concerned = hosts.filter((host) => host.version >= version);
  const names = (state: NetworkHost["state"]) =>
    concerned.flatMap((host) => (host.state === state ? [host.name] : [])).join(", ");
  const [silent, old] = [names("silent"), names("unsupported")];
  const words = [
    ...(silent ? [`${silent}: silent, takes it in when heard again`] : []),
    ...(old ? [`${old}: its agent is too old, or manages no network`] : []),
  ];
  return words.length === 0 ? "" : ` (not proven on ${words.join("; ")})`;
}

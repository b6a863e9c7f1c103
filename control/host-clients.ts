// Clients of the hosts' own servers (7779), one per host, shown control's certificate of now.
import { type Client, createClient, hostServerName } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import type { Context } from "./context.ts";
import { keys } from "./keys.ts";
import type { HostRecord } from "./records.ts";

export interface HostClients {
  /** Throws Fault `unavailable` for a host that cannot be reached by anybody now. */
  of(hostId: string): { client: Client; name: string };
  /** A client of the caller's own, to be closed by it: what is read for long keeps nobody else waiting. Throws as `of` does. */
  open(hostId: string): Client;
  useIdentity(identity: { key: string; certificate: string }): void;
  close(): void;
}

const TIMEOUT_MS = 5_000;

export function hostClients(
  { store, authority }: Pick<Context, "store" | "authority">,
  identity: { key: string; certificate: string },
  port = 7779,
): HostClients {
  const clients = new Map<string, { address: string; client: Client }>();
  let shown = identity;
  const placeOf = (hostId: string): { address: string; name: string } => {
    const host = store.get<HostRecord>(keys.host(hostId))?.value;
    if (host?.address === undefined || host.state === "lost")
      throw new Fault("unavailable", `host ${host?.name ?? hostId} cannot be reached now`);
    return { address: host.address, name: host.name };
  };
  const newClient = (hostId: string, address: string): Client =>
    createClient({
      urls: [`https://${address}:${port}`],
      caPem: authority.caPem,
      identity: shown,
      serverName: hostServerName(hostId),
      timeoutMs: TIMEOUT_MS,
    });
  return {
    of(hostId) {
      const { address, name } = placeOf(hostId);
      const known = clients.get(hostId);
      if (known?.address === address) return { client: known.client, name };
      known?.client.close();
      const client = newClient(hostId, address);
      clients.set(hostId, { address, client });
      return { client, name };
    },
    open: (hostId) => newClient(hostId, placeOf(hostId).address),
    useIdentity(next) {
      shown = next;
      for (const { client } of clients.values()) client.useIdentity(next);
    },
    close() {
      for (const { client } of clients.values()) client.close();
    },
  };
}

// Clients of the hosts' own servers (7779), one per host, shown control's certificate of now.
import { type Client, createClient, hostServerName } from "#api/client.ts";
import type { Endpoint, Item } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";
import type { StreamEvent } from "#api/stream.ts";
import type { Context } from "./context.ts";
import { hostStreams, type StreamInput } from "./host-streams.ts";
import { keys } from "./keys.ts";
import type { HostRecord } from "./records.ts";

export interface HostClients {
  /** Throws Fault `unavailable` for a host that cannot be reached by anybody now. */
  of(hostId: string): { client: Client; name: string };
  /** A stream that may be read for long; all of one host share a connection, and none keeps another waiting. Throws as `of` does. */
  stream<E extends Endpoint>(hostId: string, endpoint: E, input: StreamInput<E>): AsyncGenerator<StreamEvent<Item<E>>>;
  useIdentity(identity: { key: string; certificate: string }): void;
  close(): void;
}

const TIMEOUT_MS = 5_000;

export function hostClients(
  { store, authority, hello }: Pick<Context, "store" | "authority" | "hello">,
  identity: { key: string; certificate: string },
  port = 7779,
): HostClients {
  const clients = new Map<string, { address: string; client: Client }>();
  const streams = hostStreams(authority.caPem, identity, hello);
  const urlOf = (address: string): string => `https://${address}:${port}`;
  let shown = identity;
  const placeOf = (hostId: string): { address: string; name: string } => {
    const host = store.get<HostRecord>(keys.host(hostId))?.value;
    if (host?.address === undefined || host.state === "lost")
      throw new Fault("unavailable", `host ${host?.name ?? hostId} cannot be reached now`);
    return { address: host.address, name: host.name };
  };
  const newClient = (hostId: string, address: string): Client =>
    createClient({
      urls: [urlOf(address)],
      caPem: authority.caPem,
      identity: shown,
      serverName: hostServerName(hostId),
      timeoutMs: TIMEOUT_MS,
      hello,
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
    stream: (hostId, endpoint, input) =>
      streams.stream({ id: hostId, url: urlOf(placeOf(hostId).address) }, endpoint, input),
    useIdentity(next) {
      shown = next;
      for (const { client } of clients.values()) client.useIdentity(next);
      streams.useIdentity(next);
    },
    close() {
      for (const { client } of clients.values()) client.close();
      streams.close();
    },
  };
}

// What a DHCP answer to our made-up client says of the server that sent it; and which of the servers are rogue. Pure.
import type { DhcpServer, RogueDhcpServer } from "#api/dhcp-servers.ts";
import * as option from "../dhcp/options.ts";
import { MESSAGE, OPTION } from "../dhcp/options.ts";
import { NO_ADDRESS, type Packet } from "../dhcp/packet.ts";

/** Undefined for what is no offer. `from`: who sent it, when it does not say who it is. */
export function serverOf({ options, yiaddr, file }: Packet, from: string): DhcpServer | undefined {
  const type = option.messageType(options);
  if (type !== MESSAGE.offer && type !== MESSAGE.ack) return undefined;
  const bootFile = option.text(options, OPTION.bootfile) ?? (file || undefined);
  const vendorClass = option.text(options, OPTION.vendorClass) ?? "";
  const router = option.address(options, OPTION.router);
  return {
    address: option.address(options, OPTION.serverId) ?? from,
    ...(yiaddr === NO_ADDRESS ? {} : { gives: yiaddr }),
    ...(router === undefined ? {} : { router }),
    boots: bootFile !== undefined || /^(PXE|HTTP)Client/.test(vendorClass) || options.has(OPTION.vendor),
    ...(bootFile === undefined ? {} : { file: bootFile.slice(0, 200) }),
  };
}

/** Several answers of one server are one: what it said to the plain client and to the one that boots. */
export function merged(heard: readonly DhcpServer[]): DhcpServer[] {
  const byAddress = new Map<string, DhcpServer>();
  for (const one of heard) {
    const before = byAddress.get(one.address);
    byAddress.set(one.address, { ...before, ...one, boots: one.boots || before?.boots === true });
  }
  return [...byAddress.values()].sort((a, b) => (a.address < b.address ? -1 : 1));
}

/** Of those that answer now: who was not there at the start, and who tells machines what to boot as we do. */
export function rogues(atStart: readonly DhcpServer[], now: readonly DhcpServer[]): RogueDhcpServer[] {
  return now.flatMap((server): RogueDhcpServer[] => {
    const before = atStart.find(({ address }) => address === server.address);
    if (server.boots) return [{ ...server, rogueAs: "boots" }];
    const other = before?.card !== undefined && server.card !== undefined && before.card !== server.card;
    return before === undefined || other ? [{ ...server, rogueAs: "new" }] : [];
  });
}

// The one decision of the DHCP side: a packet, what we know of its machine, and the leases -> the replies and what changes.
// Full mode gives addresses and boot files; proxy mode gives boot files beside the LAN's own DHCP server. The shapes of the
// replies are those that firmware was measured to accept (test/bootstrap/dhcp/offer.test.ts has the table).
import type { BootCode } from "#api/boot-codes.ts";
import { contains } from "#lib/ipv4.ts";
import { bootFile } from "./boot-files.ts";
import type { Client } from "./classify.ts";
import type { OfferInput, OfferMachine, Reply } from "./exchange.ts";
import type { Lease } from "./leases.ts";
import * as option from "./options.ts";
import { MESSAGE, OPTION } from "./options.ts";
import { NO_ADDRESS } from "./packet.ts";
import { nakReply, type ReplyContent, reply } from "./reply.ts";

export interface Decision {
  replies: Reply[];
  /** Becomes true before the replies leave; journaled first unless it is only `offered`. */
  lease?: Lease;
  /** The client took another server's offer: ours is free again. */
  forgetOffer?: boolean;
  /** What happened, for the timeline; `ignored` says why in `reason`. */
  step: "offer" | "ack" | "nak" | "boot-file" | "release" | "decline" | "ignored";
  reason?: string;
  /** It was ignored because there is nothing for it to boot. */
  noBootFile?: boolean;
  /** Another DHCP server the client named. */
  otherServer?: string;
  /** It was ignored because of this, which somebody should know of. */
  problem?: BootCode;
}

export const WRONG_NETWORK = "wrong network";

const OFFER_HOLD_MS = 30_000;
const MAX_RELAY_INFO_BYTES = 255;

export function offer(input: OfferInput): Decision {
  const { packet, config } = input;
  const type = option.messageType(packet.options);
  if (packet.op !== 1) return ignore("not a request");
  if (type === undefined) return ignore("no message type");
  if ((packet.options.get(OPTION.relayAgent)?.length ?? 0) > MAX_RELAY_INFO_BYTES)
    return ignore("relay information too long");
  if (input.port === 4011) return bootServer(input, type);
  if (config.mode === "proxy") return type === MESSAGE.discover ? proxyOffers(input) : lansOwn(input, type);
  if (packet.giaddr !== NO_ADDRESS && !contains(config.network, packet.giaddr))
    return { ...ignore(`relay ${packet.giaddr} is of a network we have no addresses for`), problem: "wrong-network" };
  switch (type) {
    case MESSAGE.discover:
      return fullOffer(input);
    case MESSAGE.request:
      return fullRequest(input);
    case MESSAGE.inform:
      return fullInform(input);
    case MESSAGE.release:
      return release(input);
    case MESSAGE.decline:
      return decline(input);
    default:
      return ignore("a server's message");
  }
}

function proxyOffers(input: OfferInput): Decision {
  const { client, machine, rung } = input;
  const file = machine.mayBoot ? bootFile(client, input.config, input.loader) : undefined;
  if (file === undefined) return { ...ignore(whyNoFile(client, machine)), noBootFile: machine.mayBoot };
  const direct = reply(input, MESSAGE.offer, { boot: file, vendor: "direct" });
  if (client.kind !== "pxe") return { step: "offer", replies: [direct] };
  // Firmware older than 2017 drops an offer with 43.6 = 8; it takes the second one and asks port 4011.
  const indirect = reply(input, MESSAGE.offer, { boot: file, vendor: "4011" });
  return { step: "offer", replies: rung === 0 ? [direct, indirect] : [rung === 1 ? direct : indirect] };
}

/** Not ours to answer; a request says whose address the client takes. */
function lansOwn({ packet }: OfferInput, type: number): Decision {
  const server = type === MESSAGE.request ? option.address(packet.options, OPTION.serverId) : undefined;
  return { ...ignore("the LAN's DHCP server answers this"), ...(server === undefined ? {} : { otherServer: server }) };
}

function bootServer(input: OfferInput, type: number): Decision {
  const { client, machine, source, config, loader } = input;
  if (type !== MESSAGE.request && type !== MESSAGE.inform && type !== MESSAGE.discover)
    return ignore("not a boot server request");
  const file = machine.mayBoot ? bootFile(client, config, loader) : undefined;
  if (file === undefined) return { ...ignore(whyNoFile(client, machine)), noBootFile: machine.mayBoot };
  const ack = reply(input, MESSAGE.ack, { boot: file, vendor: "direct" });
  // iPXE drops an answer from port 67, EDK2 one that is broadcast: from 4011 to where the request came from.
  return { step: "boot-file", replies: [{ packet: { ...ack.packet, flags: 0 }, from: 4011, to: source }] };
}

function fullOffer(input: OfferInput): Decision {
  const { packet, client, leases, config, nowMs } = input;
  const address = leases.choose(client.mac, option.address(packet.options, OPTION.requestedAddress), nowMs);
  if (address === undefined) return { ...ignore("no free address in the range"), problem: "pool-empty" };
  const held = leases.byMac(client.mac);
  const stillBound = held?.address === address && held.state === "bound" && held.expiresAtMs > nowMs;
  const lease: Lease = { mac: client.mac, address, state: "offered", expiresAtMs: nowMs + OFFER_HOLD_MS };
  return {
    step: "offer",
    replies: [reply(input, MESSAGE.offer, { yiaddr: address, leaseMs: config.leaseMs, ...bootOptions(input) })],
    ...(stillBound ? {} : { lease }),
    ...(client.kind !== "os" && bootFile(client, config) === undefined
      ? { noBootFile: true, reason: whyNoFile(client, input.machine) }
      : {}),
  };
}

// RFC 2131 4.3.2: which of the four requests this is follows from options 54 and 50 and from ciaddr.
function fullRequest(input: OfferInput): Decision {
  const { packet, client, leases, config } = input;
  const server = option.address(packet.options, OPTION.serverId);
  const wish = option.address(packet.options, OPTION.requestedAddress);
  const own = leases.byMac(client.mac);
  if (server !== undefined && server !== config.address) {
    return {
      step: "ignored",
      reason: "the client chose another server",
      replies: [],
      forgetOffer: true,
      otherServer: server,
    };
  }
  const asked = packet.ciaddr !== NO_ADDRESS ? packet.ciaddr : wish;
  if (asked === undefined) return ignore("a request for no address");
  if (!contains(config.network, asked)) return nak(input, WRONG_NETWORK);
  if (own?.address === asked) {
    const refusal = leases.refusal(client.mac, asked, input.nowMs);
    if (refusal === undefined) return acknowledge(input, asked);
    return { ...nak(input, refusal), lease: { ...own, state: "released", expiresAtMs: input.nowMs } };
  }
  const whose = leases.whose(client.mac, asked);
  if (whose !== undefined) return nak(input, whose);
  if (server !== undefined) return nak(input, own === undefined ? "no such offer" : "not the offered address");
  if (own !== undefined) return nak(input, "bound to another address");
  return ignore("a lease we do not know"); // RFC 2131 4.3.2: another server may know it
}

function acknowledge(input: OfferInput, address: string): Decision {
  const { client, config, nowMs } = input;
  return {
    step: "ack",
    lease: { mac: client.mac, address, state: "bound", expiresAtMs: nowMs + config.leaseMs },
    replies: [reply(input, MESSAGE.ack, { yiaddr: address, leaseMs: config.leaseMs, ...bootOptions(input) })],
  };
}

function fullInform(input: OfferInput): Decision {
  if (input.packet.ciaddr === NO_ADDRESS) return ignore("inform without an address");
  return { step: "ack", replies: [reply(input, MESSAGE.ack, bootOptions(input))] };
}

function release({ packet, client, leases, config, nowMs }: OfferInput): Decision {
  const own = leases.byMac(client.mac);
  if (option.address(packet.options, OPTION.serverId) !== config.address) return ignore("released at another server");
  if (own?.state !== "bound" || own.address !== packet.ciaddr) return ignore("released what it does not hold");
  return { step: "release", replies: [], lease: { ...own, state: "released", expiresAtMs: nowMs } };
}

function decline({ packet, client, leases, config, nowMs }: OfferInput): Decision {
  const address = option.address(packet.options, OPTION.requestedAddress);
  const own = leases.byMac(client.mac);
  if (option.address(packet.options, OPTION.serverId) !== config.address) return ignore("declined at another server");
  if (address === undefined || own?.address !== address) return ignore("declined what it was not given");
  return {
    step: "decline",
    reason: `${address} is in use by somebody else`,
    replies: [],
    lease: { mac: client.mac, address, state: "declined", expiresAtMs: nowMs + config.quarantineMs },
  };
}

function nak({ packet, config }: OfferInput, reason: string): Decision {
  return { step: "nak", reason, replies: [nakReply(packet, config.address, reason)] };
}

// Option 60 in an answer that also gives the address sends the firmware to port 4011 unless 43.6 = 8 goes with it.
function bootOptions({ client, machine, rung, loader, config }: OfferInput): ReplyContent {
  const boot = machine.mayBoot ? bootFile(client, config, loader) : undefined;
  return boot === undefined ? {} : { boot, vendor: rung === 0 || client.kind === "http" ? "direct" : "plain" };
}

function whyNoFile(client: Client, machine: OfferMachine): string {
  if (client.kind === "os") return "not a network boot client";
  if (!machine.mayBoot) return "the machine was refused";
  return client.type === undefined
    ? `firmware is of an unknown kind, architecture ${client.archs.join(", ")}`
    : `firmware is ${client.type.name}`;
}

function ignore(reason: string): Decision {
  return { step: "ignored", reason, replies: [] };
}

// The packets the DHCP side answers with, and where they go (RFC 2131 4.1). Built from one request and what was decided.
import { broadcastOf, maskOf } from "#lib/ipv4.ts";
import { BIOS_IPXE_FILE, firstWords } from "./boot-files.ts";
import type { OfferInput, Reply } from "./exchange.ts";
import * as option from "./options.ts";
import { MESSAGE, OPTION } from "./options.ts";
import { BROADCAST_FLAG, encodedBytes, NO_ADDRESS, type Packet } from "./packet.ts";

const LIMITED_BROADCAST = "255.255.255.255";
const PXE_DISCOVERY_CONTROL = Buffer.from([6, 1, 8, 255]); // 43.6 = 8: use the file of this offer, ask nobody else
const IPXE_NO_PROXY = Buffer.from([0xb0, 1, 1]); // 175.176: do not wait about 3 s for proxy offers

const IPXE_SCRIPTLET = 81; // 175.81: run before anything else

const MAX_CLIENT_ID_BYTES = 255; // one option; a longer one was joined of several, and is nobody's

export interface ReplyContent {
  yiaddr?: string;
  leaseMs?: number;
  boot?: string;
  /** `direct` adds 60 and 43.6 = 8, `4011` adds 60 alone, `plain` neither: a bare boot file as BOOTP had it. */
  vendor?: "direct" | "4011" | "plain";
}

export function reply(input: OfferInput, type: number, content: ReplyContent): Reply {
  const { packet, client, machine, config } = input;
  const { yiaddr = NO_ADDRESS, leaseMs, boot, vendor = "plain" } = content;
  const addressing = config.mode === "full" && input.port === 67;
  const options = new Map<number, Buffer>();
  options.set(OPTION.messageType, Buffer.from([type]));
  options.set(OPTION.serverId, option.addressBytes(config.address)); // EDK2 drops an offer without it
  if (leaseMs !== undefined) {
    const seconds = Math.floor(leaseMs / 1000);
    options.set(OPTION.leaseSeconds, option.uint32(seconds));
    options.set(OPTION.renewSeconds, option.uint32(Math.floor(seconds * 0.5)));
    options.set(OPTION.rebindSeconds, option.uint32(Math.floor(seconds * 0.875)));
  }
  if (addressing) {
    options.set(OPTION.mask, option.addressBytes(maskOf(config.network.prefix)));
    options.set(OPTION.broadcast, option.addressBytes(broadcastOf(config.network)));
    if (config.router !== undefined) options.set(OPTION.router, option.addressBytes(config.router));
    if (config.dns.length > 0) options.set(OPTION.dns, option.addressBytes(...config.dns));
    if (config.ntp.length > 0) options.set(OPTION.ntp, option.addressBytes(...config.ntp));
    if (config.domain !== undefined) options.set(OPTION.domain, option.ascii(config.domain));
    if (machine.hostname !== undefined) options.set(OPTION.hostname, option.ascii(machine.hostname));
  }
  if (boot !== undefined) {
    if (client.kind === "http") options.set(OPTION.vendorClass, option.ascii("HTTPClient"));
    else if (vendor !== "plain") options.set(OPTION.vendorClass, option.ascii("PXEClient"));
    if (vendor === "direct" && client.kind !== "http") options.set(OPTION.vendor, PXE_DISCOVERY_CONTROL);
    options.set(OPTION.bootfile, option.ascii(boot));
    if (client.kind === "pxe") options.set(OPTION.tftpServer, option.ascii(config.address));
    if (client.kind === "ipxe" && addressing) options.set(OPTION.ipxe, IPXE_NO_PROXY);
    if (client.kind === "pxe" && boot === BIOS_IPXE_FILE) {
      const words = option.ascii(firstWords(config));
      options.set(OPTION.ipxe, Buffer.concat([Buffer.from([IPXE_SCRIPTLET, words.length]), words]));
    }
    const guid = packet.options.get(OPTION.clientGuid);
    if (guid?.length === 17) options.set(OPTION.clientGuid, guid);
  }
  const body: Packet = {
    ...blankReply(packet),
    ciaddr: type === MESSAGE.ack ? packet.ciaddr : NO_ADDRESS,
    yiaddr,
    // The initrd of a signed image is an operating system that asks the next server what to boot.
    siaddr: boot === undefined && !(addressing && client.kind === "os") ? NO_ADDRESS : config.address,
    sname: boot === undefined ? "" : config.address,
    // iPXE prefers the header to option 67, U-Boot reads nothing else: the whole name or nothing.
    file: boot !== undefined && boot.length < 128 ? boot : "",
    options: echoed(options, packet),
  };
  return { packet: fit(body, packet), from: 67, to: destination(packet) };
}

/** Always broadcast unless relayed, and then the relay is told to broadcast. */
export function nakReply(request: Packet, serverAddress: string, reason: string): Reply {
  const relayed = request.giaddr !== NO_ADDRESS;
  const options = new Map<number, Buffer>();
  options.set(OPTION.messageType, Buffer.from([MESSAGE.nak]));
  options.set(OPTION.serverId, option.addressBytes(serverAddress));
  options.set(OPTION.message, option.ascii(reason));
  const flags = relayed ? request.flags | BROADCAST_FLAG : request.flags;
  const packet = { ...blankReply(request), flags, options: echoed(options, request) };
  const to = relayed ? { address: request.giaddr, port: 67 } : { address: LIMITED_BROADCAST, port: 68 };
  return { packet, from: 67, to };
}

/** RFC 2131 4.1; a client without an address that did not ask for broadcast gets it too: UDP alone cannot reach its MAC. */
function destination({ giaddr, ciaddr }: Packet): Reply["to"] {
  if (giaddr !== NO_ADDRESS) return { address: giaddr, port: 67 };
  if (ciaddr !== NO_ADDRESS) return { address: ciaddr, port: 68 };
  return { address: LIMITED_BROADCAST, port: 68 };
}

const DROPPABLE = [
  OPTION.ipxe,
  OPTION.domain,
  OPTION.broadcast,
  OPTION.ntp,
  OPTION.tftpServer,
  OPTION.hostname,
  OPTION.clientGuid,
];

/** Drops what the client can do without until the packet fits what it said it takes. */
function fit(body: Packet, request: Packet): Packet {
  const max = maxReplyBytes(request);
  if (encodedBytes(body) <= max) return body;
  const options = new Map(body.options);
  for (const code of DROPPABLE) {
    if (encodedBytes({ ...body, options }) <= max) break;
    options.delete(code);
  }
  return { ...body, options };
}

/** Option 57 without IP and UDP headers. EDK2 sends it byte-swapped in REQUEST: out of bounds counts as not sent. */
function maxReplyBytes({ options }: Packet): number {
  const value = options.get(OPTION.maxSize);
  const size = value?.length === 2 ? value.readUInt16BE(0) : 0;
  return (size >= 576 && size <= 1500 ? size : 576) - 28;
}

function blankReply(request: Packet): Packet {
  return {
    op: 2,
    htype: request.htype,
    hlen: request.hlen,
    hops: 0,
    xid: request.xid,
    secs: 0,
    flags: request.flags,
    ciaddr: NO_ADDRESS,
    yiaddr: NO_ADDRESS,
    siaddr: NO_ADDRESS,
    giaddr: request.giaddr,
    chaddr: request.chaddr,
    sname: "",
    file: "",
    options: new Map(),
  };
}

/** RFC 6842 3: the client identifier goes back as it came, in every answer; RFC 3046 2.2: so does a relay's information. */
function echoed(options: Map<number, Buffer>, request: Packet): Map<number, Buffer> {
  const id = request.options.get(OPTION.clientId);
  if (id && id.length <= MAX_CLIENT_ID_BYTES) options.set(OPTION.clientId, id);
  const relay = request.options.get(OPTION.relayAgent);
  if (relay) options.set(OPTION.relayAgent, relay);
  return options;
}

// DHCP requests as firmware, iPXE and an operating system send them, for tests and benches.
import { addressBytes, ascii, MESSAGE, OPTION, uint32 } from "../../../bootstrap/dhcp/options.ts";
import { BROADCAST_FLAG, encodePacket, NO_ADDRESS, type Packet } from "../../../bootstrap/dhcp/packet.ts";

export const MAC = "52:54:00:00:00:01";
export const UUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

export interface RequestOptions {
  type?: number;
  mac?: string;
  xid?: number;
  secs?: number;
  flags?: number;
  ciaddr?: string;
  giaddr?: string;
  wish?: string;
  server?: string;
  archs?: number[];
  vendorClass?: string;
  userClass?: string;
  ipxeFeatures?: number[];
  guid?: boolean;
  extra?: [number, Buffer][];
}

export function request(options: RequestOptions = {}): Packet {
  const { type = MESSAGE.discover, mac = MAC, archs, vendorClass, userClass, ipxeFeatures, wish, server } = options;
  const chaddr = Buffer.alloc(16);
  Buffer.from(mac.replaceAll(":", ""), "hex").copy(chaddr);
  const all = new Map<number, Buffer>([[OPTION.messageType, Buffer.from([type])]]);
  if (wish) all.set(OPTION.requestedAddress, addressBytes(wish));
  if (server) all.set(OPTION.serverId, addressBytes(server));
  if (vendorClass) all.set(OPTION.vendorClass, ascii(vendorClass));
  if (userClass) all.set(OPTION.userClass, ascii(userClass));
  if (archs) all.set(OPTION.clientArch, Buffer.from(archs.flatMap((arch) => [arch >> 8, arch & 255])));
  if (options.guid) all.set(OPTION.clientGuid, guidBytes(UUID));
  if (ipxeFeatures) all.set(OPTION.ipxe, Buffer.from(ipxeFeatures.flatMap((feature) => [feature, 1, 1])));
  all.set(OPTION.maxSize, Buffer.from([1472 >> 8, 1472 & 255]));
  for (const [code, value] of options.extra ?? []) all.set(code, value);
  return {
    op: 1,
    htype: 1,
    hlen: 6,
    hops: 0,
    xid: options.xid ?? 0x12345678,
    secs: options.secs ?? 0,
    flags: options.flags ?? BROADCAST_FLAG,
    ciaddr: options.ciaddr ?? NO_ADDRESS,
    yiaddr: NO_ADDRESS,
    siaddr: NO_ADDRESS,
    giaddr: options.giaddr ?? NO_ADDRESS,
    chaddr,
    sname: "",
    file: "",
    options: all,
  };
}

export const bios = (more: RequestOptions = {}): Packet =>
  request({ vendorClass: "PXEClient:Arch:00000:UNDI:002001", archs: [0], guid: true, ...more });
export const uefi = (more: RequestOptions = {}): Packet =>
  request({ vendorClass: "PXEClient:Arch:00007:UNDI:003000", archs: [7], guid: true, ...more });
export const uefiHttp = (more: RequestOptions = {}): Packet =>
  request({ vendorClass: "HTTPClient:Arch:00016:UNDI:003001", archs: [16], guid: true, ...more });
export const ipxe = (more: RequestOptions = {}): Packet =>
  request({
    vendorClass: "PXEClient:Arch:00000:UNDI:002001",
    archs: [0],
    guid: true,
    userClass: "iPXE",
    ipxeFeatures: [0x10, 0x13, 0x15, 0x17, 0x18],
    flags: 0,
    ...more,
  });
export const os = (more: RequestOptions = {}): Packet =>
  request({ extra: [[OPTION.leaseSeconds, uint32(3600)]], flags: 0, ...more });

export function bytes(packet: Packet): Buffer {
  return encodePacket(packet);
}

function guidBytes(uuid: string): Buffer {
  const [a, b, c, d, e] = uuid.split("-") as [string, string, string, string, string];
  const swap = (hex: string) => hex.match(/../g)!.reverse().join("");
  return Buffer.from(`00${swap(a)}${swap(b)}${swap(c)}${d}${e}`, "hex");
}

// Who sent this DHCP packet: firmware PXE, firmware HTTP boot, iPXE, or an operating system; and for which machine type
// (architectures.ts). Facts: UEFI 2.10 section 24.7, iPXE's option 175.
import { type MachineType, machineTypeOf, type Platform } from "./architectures.ts";
import { firmwareKind } from "./learnt.ts";
import * as option from "./options.ts";
import { OPTION } from "./options.ts";
import { macOf, type Packet } from "./packet.ts";

export type ClientKind = "pxe" | "http" | "ipxe" | "os";

export interface Client {
  kind: ClientKind;
  mac: string;
  uuid: string | undefined;
  archs: number[];
  /** What it is, as far as option 93 or its card tells; undefined for numbers that nobody registered. */
  type: MachineType | undefined;
  /** An iPXE without HTTP, which needs another one first; its `kind` is that of firmware. */
  isBareIpxe: boolean;
  /** Which boot file is for it; undefined when there is none. */
  platform: Platform | undefined;
  /** Which make of firmware it is (learnt.ts). */
  firmware: string;
  /** Seconds since it began, by its own account (RFC 2131 `secs`). */
  seconds: number;
}

const IPXE_FEATURE_HTTP = 0x13;

/** UUIDs that vendors leave in thousands of machines: no identity at all. */
const JUNK_UUIDS = new Set([
  "00000000-0000-0000-0000-000000000000",
  "ffffffff-ffff-ffff-ffff-ffffffffffff",
  "03000200-0400-0500-0006-000700080009",
  "00020003-0004-0005-0006-000700080009",
  "12345678-1234-5678-90ab-cddeefaabbcc",
]);

/** The client, or undefined when the packet has no Ethernet address to answer to. */
export function classify(packet: Packet): Client | undefined {
  const mac = macOf(packet);
  if (mac === undefined) return undefined;
  const archs = option.archs(packet.options);
  const type = machineTypeOf(archs, mac);
  return {
    kind: kindOf(packet),
    mac,
    uuid: usableUuid(option.guid(packet.options)),
    archs,
    type,
    platform: type?.platform,
    firmware: firmwareKind(option.text(packet.options, OPTION.vendorClass), type?.architecture, mac),
    seconds: packet.secs,
    isBareIpxe: option.userClasses(packet.options).includes("iPXE") && !isHttpCapableIpxe(packet.options),
  };
}

/** A UUID that can tell one machine from another, in lower case; undefined for a malformed one or a vendor's filler. */
export function usableUuid(uuid: string | null | undefined): string | undefined {
  const lower = uuid?.toLowerCase();
  if (!lower || !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(lower) || JUNK_UUIDS.has(lower)) return undefined;
  return lower;
}

function kindOf({ options }: Packet): ClientKind {
  const vendorClass = option.text(options, OPTION.vendorClass) ?? "";
  if (isHttpCapableIpxe(options)) return "ipxe";
  if (vendorClass.startsWith("HTTPClient")) return "http";
  if (vendorClass.startsWith("PXEClient")) return "pxe";
  return "os";
}

// VirtualBox ships an iPXE without HTTP: it says so in option 175 and is given a full iPXE like any other PXE ROM.
function isHttpCapableIpxe(options: Packet["options"]): boolean {
  if (!option.userClasses(options).includes("iPXE")) return false;
  const features = options.get(OPTION.ipxe);
  return features === undefined || option.subOptions(features).has(IPXE_FEATURE_HTTP);
}

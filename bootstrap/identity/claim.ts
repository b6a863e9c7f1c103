// What firmware and iPXE say about a machine, turned into a claim (api/machine-identity.ts). The bytes are hostile: what does not have the
// shape of its field is left out, never repaired into something that could name another machine.

import type { Claimed } from "#api/machine-identity.ts";
import { RASPBERRY_PI } from "../dhcp/architectures.ts";
import { type Client, usableUuid } from "../dhcp/classify.ts";
import type { Loader } from "../dhcp/loader.ts";

const JUNK_TEXT = new Set([
  "default string",
  "to be filled by o.e.m.",
  "not specified",
  "none",
  "system serial number",
  "0",
  "0123456789",
  "n/a",
]);

export function identityOfClient(client: Client): Claimed {
  const said = client.archs.length > 0 || client.type === RASPBERRY_PI;
  const architecture = said ? client.type?.architecture : undefined;
  return {
    mac: client.mac,
    ...(client.uuid === undefined ? {} : { uuid: client.uuid }),
    ...(architecture === undefined ? {} : { architecture }),
    firmware: client.kind === "http" ? "uefi-http" : (client.type?.firmware ?? "unknown"),
    ...(client.type === RASPBERRY_PI ? { product: RASPBERRY_PI.name } : {}),
  };
}

/** From the query of /boot.ipxe, where iPXE can say everything, or of /boot.grub; undefined without a proper MAC. */
export function identityOfQuery(query: URLSearchParams, loader: Loader = "ipxe"): Claimed | undefined {
  const mac = (query.get("mac") ?? "").toLowerCase().replaceAll("-", ":");
  if (
    !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac) ||
    Number.parseInt(mac.slice(0, 2), 16) & 1 ||
    mac === "00:00:00:00:00:00"
  )
    return undefined;
  const uuid = usableUuid(query.get("uuid"));
  const serial = plainText(query.get("serial"), 64)?.replaceAll(" ", "-");
  const manufacturer = plainText(query.get("vendor"), 64);
  const product = plainText(query.get("product"), 64);
  const architecture = /^[a-z0-9_]{1,16}$/.exec(query.get("arch") ?? "")?.[0];
  const platform = query.get("platform");
  return {
    mac,
    ...(uuid === undefined ? {} : { uuid }),
    ...(serial === undefined ? {} : { serial }),
    ...(architecture === undefined ? {} : { architecture }),
    ...(platform === "efi" || platform === "pcbios" ? { firmware: platform === "efi" ? "uefi" : "bios" } : {}),
    ...(manufacturer === undefined ? {} : { manufacturer }),
    ...(product === undefined ? {} : { product }),
    // GRUB can say its SMBIOS values only where its image has the module for it: what it left out it may just not know.
    ...(loader === "ipxe" || (query.has("uuid") && query.has("serial")) ? { whole: true } : {}),
  };
}

function plainText(value: string | null, maxLength: number): string | undefined {
  const text = (value ?? "")
    .replace(/[^\x20-\x7e]/g, "")
    .trim()
    .slice(0, maxLength)
    .trim();
  return text === "" || text.includes("${") || JUNK_TEXT.has(text.toLowerCase()) ? undefined : text;
}

// Which file a machine is to load next, by what it is (architectures.ts) and by which loader: iPXE, or Debian's signed shim, which
// starts Debian's signed GRUB where firmware refuses an unsigned program (Secure Boot).
import type { Platform } from "./architectures.ts";
import type { Client } from "./classify.ts";
import { LOADERS, type Loader } from "./loader.ts";

export const UKI_FILE = "uki-x64.efi";
export const BIOS_IPXE_FILE = "undionly.kpxe";

const FILES: Record<Platform, Partial<Record<Loader, string>>> = {
  "bios-x86": { ipxe: BIOS_IPXE_FILE },
  "uefi-x64": { ipxe: "snponly.efi", shim: "shimx64.efi", uki: UKI_FILE },
  "uefi-arm64": { ipxe: "ipxe-arm64.efi", shim: "shimaa64.efi" },
};

export interface BootFilesConfig {
  address: string;
  httpPort: number;
  /** Loaders that firmware is offered, the first one first; a file that is not served is none. */
  loaders: readonly Loader[];
  served: Pick<ReadonlySet<string>, "has">;
}

/** The loaders there are for a client, in the order they are tried. */
export function loadersFor({ kind, platform }: Client, { loaders, served }: BootFilesConfig): Loader[] {
  if ((kind !== "pxe" && kind !== "http") || platform === undefined) return [];
  const files = FILES[platform];
  const there = (loader: Loader) => served.has(files[loader] ?? "");
  const found = loaders.filter(there);
  // Nothing but iPXE starts a BIOS, and nothing but GRUB an arm64 machine where no iPXE for it is there.
  return found.length > 0 ? found : (["ipxe", "shim"] as const).filter(there);
}

/** What the client is to load next: iPXE a script, HTTP firmware a URL, PXE firmware a TFTP name; undefined for nothing. */
export function bootFile(client: Client, config: BootFilesConfig, loader?: Loader): string | undefined {
  const base = `http://${config.address}:${config.httpPort}`;
  if (client.kind === "ipxe") return scriptUrl(base, client.mac);
  const there = loadersFor(client, config);
  const chosen = loader !== undefined && there.includes(loader) ? loader : there[0];
  if (chosen === undefined || client.platform === undefined) return undefined;
  const name = FILES[client.platform][chosen]!;
  return client.kind === "pxe" ? name : `${base}/ipxe/${name}`;
}

/** The loader that a file is, undefined for any other file. */
export function loaderOf(name: string): Loader | undefined {
  return LOADERS.find((loader) => Object.values(FILES).some((files) => files[loader] === name));
}

/** What shim and GRUB look for beside themselves and do without. */
export const isOptional = (name: string): boolean =>
  /^\/?((revocations_\w+|shim_certificate_\d+|mm\w+|fb\w+)\.efi|grub\/.*\.(lst|mod|pf2|gz|mo))$/.test(name);

/** The script's address; iPXE fills in what only it knows, escaped by itself. */
export function scriptUrl(base: string, mac: string): string {
  return `${base}/boot.ipxe?mac=${mac}&uuid=\${uuid}&serial=\${serial:uristring}&arch=\${buildarch}&platform=\${platform}&vendor=\${manufacturer:uristring}&product=\${product:uristring}`;
}

/**
 * What iPXE runs first, where it finds this in the answer that its ROM got: an address by IPv4 alone and the script that every UEFI iPXE
 * begins with. Without it `undionly.kpxe` takes the ROM's answer for its own, starts itself once more and waits for an IPv6 router, twice.
 */
export function firstWords({ address }: Pick<BootFilesConfig, "address">): string {
  return `ifconf --configurator dhcp net0 && chain --autofree tftp://${address}/autoexec.ipxe || autoboot`;
}

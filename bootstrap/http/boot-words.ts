// What both script languages (ipxe.ts, grub/script.ts) put into a boot script: the words of the kernel's command line, and the one gate
// for everything that is not ours: hostile SMBIOS text cannot become a command.
import { isKernelWord } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import { IMAGE_PEER_PORT, imagePeerPath } from "#api/image-peers.ts";

export interface ScriptImage {
  kernelSha256: string;
  initrdSha256: string;
  squashfsSha256: string;
  /** Words of the kernel command line, without what the script itself adds. */
  cmdline: readonly string[];
}

export interface ScriptOptions {
  /** `http://10.77.0.1:7780` */
  base: string;
  mac: string;
}

export interface BootOptions extends ScriptOptions {
  /** Opens this boot's seed and beacons. */
  token: string;
  image: ScriptImage;
  /** A host that has the root image. */
  peer?: string;
}

/** A root shell on the console; `why` it is given, and what else its console says. */
export interface RescueOptions extends ScriptOptions {
  image: ScriptImage;
  why?: string | undefined;
  lines?: readonly string[];
}

/** To say what a machine is made of, at `url`: no token and no seed, nothing secret. */
export interface InventoryOptions extends ScriptOptions {
  image: ScriptImage;
  url: string;
  /** A person wants to know: it restarts once it has said so. */
  ordered?: true;
  peer?: string;
}

export const inventorySays = ({ ordered }: Pick<InventoryOptions, "ordered">): string =>
  ordered
    ? "Flynn: this machine says what it is made of, as a person ordered"
    : "Flynn: this machine waits for approval and says meanwhile what it is made of";

export const inventoryWords = ({ url, ordered }: Pick<InventoryOptions, "url" | "ordered">): string[] => [
  "cloud-init=disabled",
  "systemd.unit=flynn-inventory.target",
  `flynn.inventory=${word(url)}`,
  ...(ordered ? ["flynn.ordered"] : []),
];

export const RETRY_SECONDS = 5;
/** What a console says before a kernel takes it over stands there for so long. */
export const READ_SECONDS = 10;
const RESCUE_WORDS = ["cloud-init=disabled", "systemd.unit=rescue.target", "systemd.setenv=SYSTEMD_SULOGIN_FORCE=1"];

export const seedWord = (base: string, token: string): string => `ds=nocloud-net;s=${base}/s/${word(token)}/`;

/** The kernel's command line, a word each, as both languages pass it on. */
export function bootWords(
  { base, mac, peer }: ScriptOptions & { peer?: string | undefined },
  image: ScriptImage,
  extra: readonly string[],
): string[] {
  const path = imagePeerPath(digest(image.squashfsSha256));
  // A peer may be gone by then, or give something else: the initrd goes on with ours.
  const root =
    peer === undefined
      ? [`fetch=${base}${path}`]
      : [`fetch=http://${word(peer)}:${IMAGE_PEER_PORT}${path}`, `flynn.root=${base}${path}`];
  const own = image.cmdline.some((one) => one === "boot=live") ? [] : ["boot=live"];
  return [...own, ...image.cmdline.map(word), ...root, `BOOTIF=01-${word(mac).replaceAll(":", "-")}`, ...extra];
}

/** One word of a script line, as it is; anything a script would read as more than that is a Fault `invalid`. */
export function word(value: string): string {
  if (!isKernelWord(value)) {
    throw new Fault("invalid", `${JSON.stringify(value.slice(0, 80))} cannot stand in a boot script`);
  }
  return value;
}

/** Text for the console: what is not plain is replaced, so that no text can end its line or its command. */
export function consoleText(text: string): string {
  return text
    .replaceAll(";", ",")
    .replace(/[^A-Za-z0-9 .,:()_/=+-]/g, "?")
    .slice(0, 200);
}

/** Text of any length, in as many lines as it takes on a screen of 80 columns. */
export const consoleLines = (text: string): string[] => text.match(/\S.{0,76}\S(?=\s|$)|\S{1,78}/g) ?? [];

/** Why, for the console of the system that boots: what iPXE shows is soon gone. Blanks are underscores. */
const whyWord = (why: string): string => word(`flynn.why=${consoleText(why).slice(0, 180).replaceAll(" ", "_")}`);

export const rescueWords = (why: string | undefined): string[] => [
  ...RESCUE_WORDS,
  ...(why === undefined ? [] : [whyWord(why)]),
];

export function digest(sha256: string): string {
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw new Fault("invalid", "not a sha256");
  return sha256;
}

// The scripts that iPXE runs. Everything that goes into one is either ours or passes `word`, which lets through no blank,
// no control byte and nothing iPXE would expand or split on: hostile SMBIOS text cannot become a command.
import { isKernelWord } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import { IMAGE_PEER_PORT, imagePeerPath } from "#api/image-peers.ts";
import { scriptUrl } from "../dhcp/offer.ts";

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

const RETRY_SECONDS = 5;

/** Boot `image`; `token` opens this boot's seed and beacons; `peer` is a host that has the root image. */
export function bootScript({
  base,
  mac,
  token,
  image,
  peer,
}: ScriptOptions & { token: string; image: ScriptImage; peer?: string }): string {
  const seed = `ds=nocloud-net;s=${base}/s/${word(token)}/`;
  return script([
    `imgfetch --name beacon ${base}/e/${word(token)}/ipxe ||`,
    "imgfree",
    ...kernelLines(base, mac, image, [seed], peer),
    ":fail",
    `imgfetch --name beacon ${base}/e/${word(token)}/fail ||`,
    ...retryLines(base, mac),
  ]);
}

/** Boot `image` to a root shell on the console, with no token and no seed: nothing secret, no agent. */
export function rescueScript({ base, mac, image }: ScriptOptions & { image: ScriptImage }): string {
  const words = ["cloud-init=disabled", "systemd.unit=rescue.target", "systemd.setenv=SYSTEMD_SULOGIN_FORCE=1"];
  return script([...kernelLines(base, mac, image, words), ":fail", ...retryLines(base, mac)]);
}

/** Nothing to boot yet: say why on the console and ask again. */
export function waitScript({ base, mac, lines }: ScriptOptions & { lines: readonly string[] }): string {
  return script([...lines.map((line) => `echo ${consoleText(line)}`), ...retryLines(base, mac)]);
}

/** Hand over to the disk. A BIOS is told which disk; UEFI goes on with its own boot order. */
export function localDiskScript({ platform }: { platform: string | undefined }): string {
  return script(platform === "efi" ? ["exit 0"] : ["sanboot --no-describe --drive 0x80 || exit 0"]);
}

/** No boot, and no asking again (a person said no, or there is no image for it): the firmware goes on with its boot order. */
export function refusalScript(lines: readonly string[]): string {
  return script([...lines.map((line) => `echo ${consoleText(line)}`), "sleep 10", "exit 0"]);
}

/** What iPXE runs when it was started without an answer of ours: get an address, then ask. */
export function autoexecScript({ base }: { base: string }): string {
  return script([
    "set tries:int32 0",
    ":net",
    // Not `dhcp`: that waits up to 17 s for an IPv6 router.
    `ifconf --configurator dhcp net0 && chain --autofree --replace ${scriptUrl(base, "$" + "{net0/mac}")} ||`,
    "inc tries",
    `iseq \${tries} 20 && exit 0 ||`,
    `sleep ${RETRY_SECONDS}`,
    "goto net",
  ]);
}

function kernelLines(base: string, mac: string, image: ScriptImage, extra: readonly string[], peer?: string): string[] {
  const path = imagePeerPath(digest(image.squashfsSha256));
  // A peer may be gone by then, or give something else: the initrd goes on with ours.
  const root =
    peer === undefined
      ? [`fetch=${base}${path}`]
      : [`fetch=http://${word(peer)}:${IMAGE_PEER_PORT}${path}`, `flynn.root=${base}${path}`];
  const own = image.cmdline.some((one) => one === "boot=live") ? [] : ["boot=live"];
  const words = [
    "initrd=initrd",
    ...own,
    ...image.cmdline.map(word),
    ...root,
    `BOOTIF=01-${word(mac).replaceAll(":", "-")}`,
    ...extra,
  ];
  return [
    `kernel --name vmlinuz ${base}/a/sha256-${digest(image.kernelSha256)}/vmlinuz ${words.join(" ")} || goto fail`,
    `initrd --name initrd ${base}/a/sha256-${digest(image.initrdSha256)}/initrd || goto fail`,
    "boot || goto fail",
  ];
}

function retryLines(base: string, mac: string): string[] {
  const url = scriptUrl(base, word(mac));
  return [":retry", `sleep ${RETRY_SECONDS}`, `chain --autofree --replace ${url} || goto retry`];
}

function script(lines: readonly string[]): string {
  return `#!ipxe\n${lines.join("\n")}\n`;
}

/** One word of a script line, as it is; anything iPXE would read as more than that is a Fault `invalid`. */
export function word(value: string): string {
  if (!isKernelWord(value)) {
    throw new Fault("invalid", `${JSON.stringify(value.slice(0, 80))} cannot stand in a boot script`);
  }
  return value;
}

/** Text for the console: what is not plain is replaced, so that no text can end its line or its command. */
export function consoleText(text: string): string {
  return text.replace(/[^A-Za-z0-9 .,:()_/=+-]/g, "?").slice(0, 200);
}

function digest(sha256: string): string {
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw new Fault("invalid", "not a sha256");
  return sha256;
}

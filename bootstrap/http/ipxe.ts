// The scripts that iPXE runs. Everything that goes into one is either ours or passes `word`, which lets through no blank,
// no control byte and nothing iPXE would expand or split on: hostile SMBIOS text cannot become a command.
import { scriptUrl } from "../dhcp/boot-files.ts";
import {
  type BootOptions,
  bootWords,
  consoleText,
  digest,
  type InventoryOptions,
  inventorySays,
  inventoryWords,
  READ_SECONDS,
  RETRY_SECONDS,
  type RescueOptions,
  rescueWords,
  type ScriptImage,
  type ScriptOptions,
  seedWord,
  word,
} from "./boot-words.ts";

/** Boot `image`; `token` opens this boot's seed and beacons; `peer` is a host that has the root image. */
export function bootScript({ base, mac, token, image, peer }: BootOptions): string {
  return script([
    `imgfetch --name beacon ${base}/e/${word(token)}/ipxe ||`,
    "imgfree",
    ...kernelLines(base, mac, image, [seedWord(base, token)], peer),
    ":fail",
    `imgfetch --name beacon ${base}/e/${word(token)}/fail ||`,
    ...retryLines(base, mac),
  ]);
}

/** Boot `image` to a root shell on the console, with no token and no seed: nothing secret, no agent. */
export function rescueScript({ base, mac, image, why, lines = [] }: RescueOptions): string {
  const told = lines.length === 0 ? [] : [...lines.map((line) => `echo ${consoleText(line)}`), `sleep ${READ_SECONDS}`];
  return script([...told, ...kernelLines(base, mac, image, rescueWords(why)), ":fail", ...retryLines(base, mac)]);
}

/** Boot `image` as one that only says what the machine is made of. */
export function inventoryScript(options: InventoryOptions): string {
  const { base, mac, image, peer } = options;
  return script([
    `echo ${inventorySays(options)}`,
    "imgfree",
    ...kernelLines(base, mac, image, inventoryWords(options), peer),
    ":fail",
    ...retryLines(base, mac),
  ]);
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

/** What iPXE runs when it was started without an answer of ours: an address for one card after the other, until one gets a script. */
export function autoexecScript({ base, media }: { base: string; media?: string }): string {
  const card = "net$" + "{card}";
  const url = `${scriptUrl(base, `\${${card}/mac}`)}${media === undefined ? "" : `&media=${word(media)}`}`;
  return script([
    "set tries:int32 0",
    ":again",
    "set card:int32 0",
    ":card",
    `isset \${${card}/mac} || goto next`,
    // Not `dhcp`: that waits up to 17 s for an IPv6 router.
    `ifconf --configurator dhcp ${card} && chain --autofree --replace ${url} ||`,
    `ifclose ${card} ||`,
    "inc card",
    "goto card",
    ":next",
    "inc tries",
    `iseq \${tries} 20 && exit 0 ||`,
    `sleep ${RETRY_SECONDS}`,
    "goto again",
  ]);
}

function kernelLines(base: string, mac: string, image: ScriptImage, extra: readonly string[], peer?: string): string[] {
  const words = ["initrd=initrd", ...bootWords({ base, mac, peer }, image, extra)];
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

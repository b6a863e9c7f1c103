// The scripts that GRUB runs where firmware refuses iPXE: Debian's signed GRUB, started by its signed shim. The same five as iPXE's
// (http/ipxe.ts). Every word stands in single quotes, which GRUB takes as they are (`ds=nocloud-net;s=` would end a command
// otherwise); what could end those does not pass `word` or `consoleText`. GRUB has no `||` and no `goto`: a script that fails
// ends, and the first script's loop asks again.
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
} from "../http/boot-words.ts";

/** Boot `image`; `token` opens this boot's seed and beacons; `peer` is a host that has the root image. */
export function bootGrub({ base, mac, token, image, peer }: BootOptions): string {
  const beacon = (stage: string) => `cat ${file(base, `/e/${word(token)}/${stage}`)}`;
  return script([beacon("grub"), ...kernelLines({ base, mac, peer }, image, [seedWord(base, token)]), beacon("fail")]);
}

/** Boot `image` to a root shell on the console, with no token and no seed: nothing secret, no agent. */
export function rescueGrub({ base, mac, image, why, lines = [] }: RescueOptions): string {
  const told = lines.length === 0 ? [] : [...lines.map(echo), `sleep ${READ_SECONDS}`];
  return script([...told, ...kernelLines({ base, mac }, image, rescueWords(why))]);
}

/** Boot `image` as one that only says what the machine is made of. */
export function inventoryGrub(options: InventoryOptions): string {
  const { base, mac, image, peer } = options;
  return script([echo(inventorySays(options)), ...kernelLines({ base, mac, peer }, image, inventoryWords(options))]);
}

/** Nothing to boot yet: say why on the console; the loop asks again. */
export function waitGrub(lines: readonly string[]): string {
  return script(lines.map(echo));
}

/** UEFI goes on with its own boot order. */
export function localDiskGrub(): string {
  return script(["exit"]);
}

/** No boot, and no asking again: the firmware goes on with its boot order. */
export function refusalGrub(lines: readonly string[]): string {
  return script([...lines.map(echo), "sleep 10", "exit"]);
}

const ROUNDS = 30;
const TRIES = 24; // 720 times 5 s: an hour

/** More cards than that are not tried from an ISO. */
const CARDS = 4;

/**
 * grub.cfg, the same for every machine: says who it is, as iPXE does, and asks until there is something to boot. From an ISO, whose token
 * `media` is, GRUB has no address yet: it asks for one for one card after the other.
 */
export function startGrub({ base, media }: { base: string; media?: string }): string {
  const numbers = (most: number) => Array.from({ length: most }, (_, at) => at + 1).join(" ");
  const url = (mac: string) => `${device(base)}/boot.grub?mac=$${mac}&arch=$grub_cpu&platform=$grub_platform$said`;
  const ask =
    media === undefined
      ? [`    source "${url("net_default_mac")}"`]
      : Array.from({ length: CARDS }, (_, n) => [
          `    if [ -z "$net_efinet${n}_dhcp_mac" ]; then net_dhcp efinet${n}; fi`,
          `    if [ -n "$net_efinet${n}_dhcp_mac" ]; then`,
          `      source "${url(`net_efinet${n}_dhcp_mac`)}&media=${word(media)}"`,
          "    fi",
        ]).flat();
  return script([
    "set said=",
    // A blank becomes %20; a text with anything else that is not plain in a URL is left out: never known, not misquoted.
    "function say {",
    '  set text="$2"',
    "  while regexp --set=1:left --set=2:right '^([^ ]*) +(.*)$' \"$text\"; do",
    '    set text="$left%20$right"',
    "  done",
    "  if regexp '^[A-Za-z0-9._:/+%-]+$' \"$text\"; then",
    '    set said="$said&$1=$text"',
    "  fi",
    "}",
    'if smbios --type 1 --get-uuid 8 --set=uuid; then say uuid "$uuid"; fi',
    'if smbios --type 1 --get-string 7 --set=serial; then say serial "$serial"; fi',
    'if smbios --type 1 --get-string 4 --set=vendor; then say vendor "$vendor"; fi',
    'if smbios --type 1 --get-string 5 --set=product; then say product "$product"; fi',
    `for round in ${numbers(ROUNDS)}; do`,
    `  for try in ${numbers(TRIES)}; do`,
    ...ask,
    `    sleep ${RETRY_SECONDS}`,
    "  done",
    "done",
    // From the beginning: an appliance at another address is found by DHCP alone.
    "reboot",
  ]);
}

function kernelLines(
  options: ScriptOptions & { peer?: string | undefined },
  image: ScriptImage,
  extra: readonly string[],
): string[] {
  const { base } = options;
  const words = bootWords(options, image, extra).map((one) => `'${word(one)}'`);
  return [
    `if linux ${file(base, `/a/sha256-${digest(image.kernelSha256)}/vmlinuz`)} ${words.join(" ")}; then`,
    `  if initrd ${file(base, `/a/sha256-${digest(image.initrdSha256)}/initrd`)}; then`,
    "    boot",
    "  fi",
    "fi",
  ];
}

const echo = (line: string): string => `echo '${consoleText(line)}'`;

/** `http://10.77.0.1:7780` as GRUB names a server: `(http,10.77.0.1:7780)`. */
const device = (base: string): string => base.replace(/^http:\/\/(.*)$/, "(http,$1)");
const file = (base: string, path: string): string => `'${device(base)}${path}'`;

function script(lines: readonly string[]): string {
  return `${lines.join("\n")}\n`;
}

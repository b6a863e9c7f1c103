// What GRUB reads on an installed disk: the rule of slots.ts in its language, and the words of each slot's kernel.
import { isKernelWord } from "#api/boot.ts";
import { type Slot, TRIES } from "./slots.ts";

const ENV = "($esp)/FLYNN/GRUBENV";

/** `uuids`: of the slots' file systems, so that another disk's slots are never taken for these. */
export function grubConfig(uuids: Readonly<Record<Slot, string>>): string {
  const counted = Array.from({ length: TRIES }, (_, n) => TRIES - n).map(
    (left, n) => `  ${n === 0 ? "if" : "elif"} [ "$left" = "${left}" ]; then set left=${left - 1}; set next="$trying"`,
  );
  return `# Written by Flynn. Which slot boots is in FLYNN/GRUBENV; what is changed here is lost with the next installation.
set timeout=0
set esp="$root"
load_env -f ${ENV}
if [ "$good" = "" ]; then set good=a; fi
set slot="$good"
if [ "$trying" != "" ]; then
  set next=""
${counted.join("\n")}
  fi
  if [ "$next" != "" ]; then
    # What cannot be written down is not tried: it would be tried for ever.
    if save_env -f ${ENV} left; then set slot="$next"; fi
  fi
fi
function start {
  if [ "$1" = "b" ]; then set uuid=${uuids.b}; else set uuid=${uuids.a}; fi
  if search --no-floppy --fs-uuid --set=slotdev $uuid; then
    source ($slotdev)/slot.cfg
    if linux ($slotdev)/vmlinuz $words flynn.slot=$1; then
      if initrd ($slotdev)/initrd; then boot; fi
    fi
  fi
}
echo "flynn: starting slot $slot"
start $slot
if [ "$slot" = "a" ]; then set slot=b; else set slot=a; fi
echo "flynn: that slot cannot be read; starting slot $slot"
start $slot
echo "flynn: BOOT REFUSED: neither slot of this disk can be read. The machine restarts in 30 seconds."
sleep 30
reboot
`;
}

/** \`slot.cfg\` of a slot: its kernel's words. The root image is taken from the slot and kept in memory. */
export function slotConfig(cmdline: readonly string[], uuid: string): string {
  const words = [...cmdline, `live-media=/dev/disk/by-uuid/${uuid}`, "live-media-path=/", "toram=root.squashfs"];
  const odd = words.find((word) => !isKernelWord(word));
  if (odd !== undefined) throw new Error(`${JSON.stringify(odd)} is no word for a kernel's command line`);
  return `set words="${words.join(" ")}"\n`;
}

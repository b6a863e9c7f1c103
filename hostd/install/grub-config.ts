// What GRUB reads on an installed disk: the rule of slots.ts in its language, and the words of each slot's kernel.
import { isKernelWord } from "#api/boot.ts";
import type { InstallImage } from "#api/host-agents.ts";
import { type Slot, TRIES } from "./slots.ts";

const ENV = "($esp)/FLYNN/GRUBENV";
/** What boots from a slot: kernel, initrd, and the root image with the seed as one more archive, which GRUB loads beside it. */
export const SLOT_FILES = { kernel: "vmlinuz", initrd: "initrd", root: "root.cpio", words: "slot.cfg" } as const;

/** `uuids`: of the slots' file systems, so that another disk's slots are never taken for these. */
export function grubConfig(uuids: Readonly<Record<Slot, string>>): string {
  const counted = Array.from({ length: TRIES }, (_, n) => TRIES - n).map(
    (left, n) => `  ${n === 0 ? "if" : "elif"} [ "$left" = "${left}" ]; then set left=${left - 1}; set next="$trying"`,
  );
  const struck = Array.from({ length: 2 * TRIES }, (_, n) => n).map((strikes, n) => {
    const turn = strikes >= TRIES ? `; set next="$other"` : "";
    return `  ${n === 0 ? "if" : "elif"} [ "$strikes" = "${strikes}" ]; then set strikes=${(strikes + 1) % (2 * TRIES)}${turn}`;
  });
  return `# Written by Flynn. Which slot boots is in FLYNN/GRUBENV; what is changed here is lost with the next installation.
set timeout=0
set esp="$root"
load_env -f ${ENV}
if [ "$good" = "" ]; then set good=a; fi
if [ "$strikes" = "" ]; then set strikes=0; fi
set slot="$good"
set next=""
set tried=""
if [ "$trying" != "" ]; then
${counted.join("\n")}
  fi
fi
if [ "$next" != "" ]; then
  # What cannot be written down is not tried: it would be tried for ever.
  if save_env -f ${ENV} left; then set slot="$next"; set tried=yes; fi
fi
if [ "$tried" = "" ]; then
  set other=""
  if [ "$good" = "a" ]; then
    if [ "$image_b" != "" ]; then set other=b; fi
  else
    if [ "$image_a" != "" ]; then set other=a; fi
  fi
  set next=""
${struck.join("\n")}
  fi
  if save_env -f ${ENV} strikes; then
    if [ "$next" != "" ]; then set slot="$next"; fi
  fi
fi
function start {
  if [ "$1" = "b" ]; then set uuid=${uuids.b}; else set uuid=${uuids.a}; fi
  if search --no-floppy --fs-uuid --set=slotdev $uuid; then
    if [ -f ($slotdev)/${SLOT_FILES.words} ]; then
      source ($slotdev)/${SLOT_FILES.words}
      if linux ($slotdev)/${SLOT_FILES.kernel} $words flynn.slot=$1; then
        if initrd ($slotdev)/${SLOT_FILES.root} ($slotdev)/${SLOT_FILES.initrd}; then boot; fi
      fi
    fi
  fi
}
echo "Flynn: starting slot $slot of this disk"
start $slot
if [ "$slot" = "a" ]; then set slot=b; else set slot=a; fi
echo "Flynn: that slot cannot be read; starting slot $slot"
start $slot
echo "Flynn: neither slot of this disk can be read. The machine goes on with what its firmware boots next."
sleep --interruptible 10
exit
`;
}

/** \`slot.cfg\` of a slot: its kernel's words. */
export function slotConfig({ id, cmdline, squashfs }: InstallImage, server: string): string {
  const ours = ["fetch=disk:", `flynn.image=${id}`, `flynn.squashfs=${squashfs.sha256}`, `flynn.server=${server}`];
  const words = [...cmdline, ...ours];
  const odd = words.find((word) => !isKernelWord(word));
  if (odd !== undefined) throw new Error(`${JSON.stringify(odd)} is no word for a kernel's command line`);
  return `set words="${words.join(" ")}"\n`;
}

// The languages that boot scripts are written in: iPXE's, GRUB's, and what the initrd of a signed image reads. Who gets which script is boot-plane.ts.
import type { Loader } from "./dhcp/loader.ts";
import { bootGrub, inventoryGrub, localDiskGrub, refusalGrub, rescueGrub, waitGrub } from "./grub/script.ts";
import type { BootOptions, InventoryOptions, RescueOptions, ScriptOptions } from "./http/boot-words.ts";
import { bootScript, inventoryScript, localDiskScript, refusalScript, rescueScript, waitScript } from "./http/ipxe.ts";
import { bootUki, localDiskUki, refusalUki, rescueUki, waitUki } from "./http/uki.ts";

export interface Scripts {
  boot(options: BootOptions): string;
  inventory(options: InventoryOptions): string;
  /** `lines`: why, for its console. */
  rescue(options: RescueOptions): string;
  wait(options: ScriptOptions & { lines: readonly string[] }): string;
  localDisk(options: { platform: string | undefined }): string;
  refusal(lines: readonly string[]): string;
}

export const SCRIPTS: Readonly<Record<Loader, Scripts>> = {
  ipxe: {
    boot: bootScript,
    inventory: inventoryScript,
    rescue: rescueScript,
    wait: waitScript,
    localDisk: localDiskScript,
    refusal: refusalScript,
  },
  uki: {
    boot: bootUki,
    inventory: () => waitUki(["Flynn: waiting for approval"]),
    rescue: rescueUki,
    wait: ({ lines }) => waitUki(lines),
    localDisk: localDiskUki,
    refusal: refusalUki,
  },
  shim: {
    boot: bootGrub,
    inventory: inventoryGrub,
    rescue: rescueGrub,
    wait: ({ lines }) => waitGrub(lines),
    localDisk: localDiskGrub,
    refusal: refusalGrub,
  },
};

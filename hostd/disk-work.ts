// What is done to disks while the host runs: wipes, and boot images on an installed one.
import type { HostTarget } from "#api/host-agents.ts";
import { type Installs, type InstallsOptions, openInstalls } from "./install/loop.ts";
import { openWipes, type WipesOptions } from "./wipe/loop.ts";

export interface DiskWork extends Pick<Installs, "ready" | "beforeReboot"> {
  setTarget(target: HostTarget): void;
  run(): Promise<void>;
}

export function openDiskWork(options: WipesOptions & InstallsOptions): DiskWork {
  const [wipes, installs] = [openWipes(options), openInstalls(options)];
  return {
    setTarget(target) {
      wipes.setTarget(target);
      installs.setTarget(target);
    },
    ready: installs.ready,
    beforeReboot: installs.beforeReboot,
    run: wipes.run,
  };
}

// Has a machine booted anew since it was told to? A boot whose agent joined says so itself. One whose host keeps its identity on its disk
// joins no more: then another kernel reports, and another boot of the machine was seen to begin. Pure.
import type { HostRecord, MachineRecord } from "../records.ts";

/** The boot that was to end, as it is kept beside an order. */
export interface EndedBoot {
  endedBootId?: string;
  /** Of its kernel, as its host reported it. */
  endedKernelId?: string;
  /** The last boot that was seen to begin. */
  endedBegunId?: string;
}

export const endedBoot = (machine: MachineRecord | undefined, host: HostRecord | undefined): EndedBoot => ({
  ...(machine?.joinedBootId === undefined ? {} : { endedBootId: machine.joinedBootId }),
  ...(host?.bootId === undefined ? {} : { endedKernelId: host.bootId }),
  ...(machine?.bootId === undefined ? {} : { endedBegunId: machine.bootId }),
});

export function bootedAnew(
  { endedBootId, endedKernelId, endedBegunId }: EndedBoot,
  machine: MachineRecord | undefined,
  host: HostRecord | undefined,
): boolean {
  if (machine?.joinedBootId !== endedBootId) return true;
  const otherKernel = endedKernelId !== undefined && host?.bootId !== undefined && host.bootId !== endedKernelId;
  return otherKernel && machine?.bootId !== endedBegunId;
}

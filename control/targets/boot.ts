// What every boot server decides from: pure, from the store's view.
import type { BootImage, BootTarget, Profile } from "#api/boot.ts";
import type { MachineDisks } from "#api/disks.ts";
import { imageArchitecture } from "#api/machine-identity.ts";
import type { Context } from "../context.ts";
import { keys, PREFIX } from "../keys.ts";
import { bootGuardOf, guardSettings } from "../machine-life/records.ts";
import type { ClusterSettings, MachineRecord } from "../records.ts";
import type { Store } from "../store/store.ts";
import { wipeTasksOf } from "../wipes/record.ts";

export function bootTargetOf({
  store: newest,
  authority,
  config,
  controlUrls,
}: Pick<Context, "store" | "authority" | "config" | "controlUrls">): BootTarget {
  const store = newest.durable;
  const images = bootImages(store);
  const currentOf = (architecture = "amd64") =>
    images.find((image) => image.current && image.architecture === architecture)?.id;
  return {
    term: store.term,
    seq: store.durableSeq,
    controlUrls,
    caPem: authority.caPem,
    unknownMachines: config.unknownMachines,
    ...(config.requireTpm ? { requireTpm: true } : {}),
    jobNetworks: [store.get<ClusterSettings>(keys.cluster)?.value.clusterRange ?? config.clusterRange],
    machines: decided(store).map((machine) => {
      const profile =
        store.get<Profile>(keys.profile(machine.profile))?.value ?? store.get<Profile>(keys.profile("default"))!.value;
      const order = store.get<MachineDisks>(keys.machineDisks(machine.id))?.value.order;
      const givenUp = wipeTasksOf(store, machine.id).map(({ fingerprint }) => fingerprint);
      const { fallback } = machine;
      const current = currentOf(imageArchitecture(machine.identity.architecture));
      const own = machine.pinnedImageId ?? (profile.image === "current" ? current : profile.image);
      const imageId = fallback?.imageId ?? own;
      return {
        id: machine.id,
        hostname: machine.name,
        macs: machine.macs,
        ...(machine.identity.uuid ? { uuid: machine.identity.uuid } : {}),
        ...(machine.identity.serial ? { serial: machine.identity.serial } : {}),
        ...(machine.state === "rejected" ? { rejected: true } : {}),
        ...(machine.joinedBootId ? { joinedBootId: machine.joinedBootId } : {}),
        target: fallback?.stage === "rescue" && machine.target === "boot" ? "rescue" : machine.target,
        ...(imageId ? { imageId } : {}),
        profile,
        tags: { ...profile.tags, ...machine.tags },
        ...(order ? { wipeOrder: order } : {}),
        ...(machine.bootOnce ? { once: { id: machine.bootOnce.orderId, target: machine.bootOnce.target } } : {}),
        guard: bootGuardOf(store, machine, guardSettings(config)),
        ...(givenUp.length > 0 ? { givenUp } : {}),
      };
    }),
    images,
  };
}

/** What it boots as things are, whatever its own boots came to. */
export function imageOfMachine(
  store: Store,
  { pinnedImageId, identity }: MachineRecord,
  { image }: Profile,
): string | undefined {
  if (pinnedImageId !== undefined || image !== "current") return pinnedImageId ?? image;
  return store.get<string>(keys.currentBootImage(imageArchitecture(identity.architecture) ?? "amd64"))?.value;
}

/** Machines that a person or policy decided on. All others wait, and a flood of them is no news to boot servers. */
function decided(store: Store): MachineRecord[] {
  return store
    .list<MachineRecord>(PREFIX.machines)
    .map(({ value }) => value)
    .filter(({ approvedAt, state, target }) => approvedAt !== undefined || state === "rejected" || target !== "wait");
}

export function bootImages(store: Store): BootImage[] {
  const currentOf = (architecture: string) => store.get<string>(keys.currentBootImage(architecture))?.value;
  return store
    .list<Omit<BootImage, "current">>(PREFIX.bootImages)
    .map(({ value }) => ({ ...value, current: value.id === currentOf(value.architecture) }));
}

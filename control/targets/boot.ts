// What every boot server decides from: pure, from the store's view.
import type { BootImage, BootTarget, Profile } from "#api/boot.ts";
import type { Context } from "../context.ts";
import { keys, PREFIX } from "../keys.ts";
import type { MachineRecord } from "../records.ts";
import type { Store } from "../store/store.ts";

export function bootTargetOf({
  store,
  authority,
  config,
  controlUrls,
}: Pick<Context, "store" | "authority" | "config" | "controlUrls">): BootTarget {
  const images = bootImages(store);
  const current = images.find((image) => image.current)?.id;
  return {
    term: store.term,
    seq: store.durableSeq,
    controlUrls,
    caPem: authority.caPem,
    unknownMachines: config.unknownMachines,
    machines: store.list<MachineRecord>(PREFIX.machines).map(({ value: machine }) => {
      const profile =
        store.get<Profile>(keys.profile(machine.profile))?.value ?? store.get<Profile>(keys.profile("default"))!.value;
      const imageId = profile.image === "current" ? current : profile.image;
      return {
        id: machine.id,
        hostname: machine.name,
        macs: machine.macs,
        ...(machine.identity.uuid ? { uuid: machine.identity.uuid } : {}),
        ...(machine.identity.serial ? { serial: machine.identity.serial } : {}),
        target: machine.target,
        ...(imageId ? { imageId } : {}),
        profile,
        tags: { ...profile.tags, ...machine.tags },
      };
    }),
    images,
  };
}

export function bootImages(store: Store): BootImage[] {
  const current = store.get<string>(keys.currentBootImage)?.value;
  return store
    .list<Omit<BootImage, "current">>(PREFIX.bootImages)
    .map(({ value }) => ({ ...value, current: value.id === current }));
}

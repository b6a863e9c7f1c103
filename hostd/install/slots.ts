// Which of the two slots of an installed disk boots: pure, and the same rule that GRUB carries out (grub-config.ts). A new image is
// tried so many times; the host that becomes ready makes it the good one; if none does, the good one boots again by itself. The good one is
// counted as well: after so many boots of which none became ready, the other slot has its turn, if an image is there.
export type Slot = "a" | "b";

export interface SlotState {
  good: Slot;
  /** The slot of a new image that no boot has proven yet. */
  trying?: Slot;
  /** Boots that it still has. */
  left: number;
  /** Boots of the good slot since a host was ready last. */
  strikes: number;
  /** Ids of the images in the slots. */
  images: Readonly<Partial<Record<Slot, string>>>;
}

export const TRIES = 3;
/** GRUB's own: a file of exactly this size, which it writes in place. */
export const ENV_BYTES = 1024;
const HEAD = "# GRUB Environment Block\n";
const IMAGE_ID = /^[A-Za-z0-9_-]{1,64}$/;

export const otherSlot = (slot: Slot): Slot => (slot === "a" ? "b" : "a");

/** What the next power-on starts, and what is written down before it does. */
export function nextBoot(state: SlotState): { slot: Slot; state: SlotState } {
  const { good, trying, left, strikes, images } = state;
  if (trying !== undefined && left > 0) return { slot: trying, state: { ...state, left: left - 1 } };
  const struck = { ...state, strikes: (strikes + 1) % (2 * TRIES) };
  const other = otherSlot(good);
  return { slot: strikes >= TRIES && images[other] !== undefined ? other : good, state: struck };
}

/** Before the other slot is written: whatever was in it, it is not booted any more. */
export const beforeUpdate = ({ good, images }: SlotState): SlotState => ({
  good,
  left: 0,
  strikes: 0,
  images: images[good] === undefined ? {} : { [good]: images[good] },
});

/** Once the other slot holds a new image, read back whole. */
export const afterUpdate = ({ good, images }: SlotState, imageId: string): SlotState => ({
  good,
  trying: otherSlot(good),
  left: TRIES,
  strikes: 0,
  images: { ...images, [otherSlot(good)]: imageId },
});

/** Once the host that booted this slot is ready. An image that was tried in vain is not tried again by itself. */
export function afterReady(state: SlotState, booted: Slot): SlotState {
  const { good, trying, left, images } = state;
  if (booted === trying || trying === undefined) return { good: booted, left: 0, strikes: 0, images };
  return { good, trying, left, strikes: 0, images };
}

/** True when a new image was tried so often and never became ready: what runs is the one before it. */
export const isFallback = ({ trying, left }: SlotState, booted: Slot): boolean =>
  trying !== undefined && left === 0 && booted !== trying;

export function encodeState({ good, trying, left, strikes, images }: SlotState): Buffer {
  const fields = { good, trying: trying ?? "", left, strikes, image_a: images.a ?? "", image_b: images.b ?? "" };
  const lines = Object.entries(fields).map(([name, value]) => `${name}=${value}\n`);
  return Buffer.from(`${HEAD}${lines.join("")}`.padEnd(ENV_BYTES, "#"), "latin1");
}

/** Undefined for what is no such block, or says what cannot be. */
export function decodeState(block: Buffer): SlotState | undefined {
  const text = block.toString("latin1", 0, ENV_BYTES);
  if (block.length < ENV_BYTES || !text.startsWith(HEAD)) return undefined;
  const fields = new Map(
    text
      .split("\n")
      .slice(1)
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)] as const),
  );
  const field = (name: string, unless = ""): string => fields.get(name) ?? unless;
  const [good, trying, left, strikes] = [field("good"), field("trying"), field("left", "0"), field("strikes", "0")];
  const isSlot = (word: string): word is Slot => word === "a" || word === "b";
  if (!isSlot(good) || !(trying === "" || isSlot(trying)) || !/^\d$/.test(left) || !/^\d$/.test(strikes))
    return undefined;
  const images: Partial<Record<Slot, string>> = {};
  for (const slot of ["a", "b"] as const)
    if (IMAGE_ID.test(field(`image_${slot}`))) images[slot] = field(`image_${slot}`);
  return { good, ...(trying === "" ? {} : { trying }), left: Number(left), strikes: Number(strikes), images };
}

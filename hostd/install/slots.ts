// Which of the two slots of an installed disk boots: pure, and the same rule that GRUB carries out (grub-config.ts). A new image is
// tried so many times; the host that becomes ready makes it the good one; if none does, the good one boots again by itself.
export type Slot = "a" | "b";

export interface SlotState {
  good: Slot;
  /** The slot of a new image that no boot has proven yet. */
  trying?: Slot;
  /** Boots that it still has. */
  left: number;
}

export const TRIES = 3;
/** GRUB's own: a file of exactly this size, which it writes in place. */
export const ENV_BYTES = 1024;
const HEAD = "# GRUB Environment Block\n";

export const otherSlot = (slot: Slot): Slot => (slot === "a" ? "b" : "a");

/** What the next power-on starts, and what is written down before it does. */
export function nextBoot(state: SlotState): { slot: Slot; state: SlotState } {
  const { good, trying, left } = state;
  if (trying === undefined || left <= 0) return { slot: good, state };
  return { slot: trying, state: { ...state, left: left - 1 } };
}

/** Once the other slot holds a new image, read back whole. */
export const afterUpdate = ({ good }: SlotState): SlotState => ({ good, trying: otherSlot(good), left: TRIES });

/** Once the host that booted this slot is ready. */
export const afterReady = (state: SlotState, booted: Slot): SlotState =>
  booted === state.trying || state.trying === undefined ? { good: booted, left: 0 } : state;

/** True when a new image was tried so often and never became ready: what runs is the one before it. */
export const isFallback = ({ trying, left }: SlotState, booted: Slot): boolean =>
  trying !== undefined && left === 0 && booted !== trying;

export function encodeState({ good, trying, left }: SlotState): Buffer {
  const text = `${HEAD}good=${good}\ntrying=${trying ?? ""}\nleft=${left}\n`;
  return Buffer.from(text.padEnd(ENV_BYTES, "#"), "latin1");
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
  const [good, trying, left] = [fields.get("good"), fields.get("trying") ?? "", fields.get("left") ?? "0"];
  const isSlot = (word: string | undefined): word is Slot => word === "a" || word === "b";
  if (!isSlot(good) || !(trying === "" || isSlot(trying)) || !/^\d$/.test(left)) return undefined;
  return { good, ...(trying === "" ? {} : { trying }), left: Number(left) };
}

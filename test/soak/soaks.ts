// The long runs, by name. Each covers folders: a row of test/soak.json that is older than their last change counts no more.
import { boots } from "./boots.ts";
import { caStack } from "./ca-stack.ts";
import { deployments } from "./deployments.ts";
import { firmware } from "./firmware.ts";
import { firmwareTable } from "./firmware-table.ts";
import { fuzzLong } from "./fuzz-long.ts";
import { imageTwice } from "./image-twice.ts";
import { installed } from "./installed.ts";
import { inventory } from "./inventory.ts";
import { arm64, ownKeys } from "./kinds.ts";
import { leak } from "./leak.ts";
import { packets } from "./packets.ts";
import { protocols } from "./protocols.ts";
import { rescue, rollout } from "./rollout.ts";
import { slots } from "./slots.ts";

export type Figures = Record<string, number | string>;

export interface SoakCall {
  /** What the last call left undone; undefined at the beginning. */
  resumed: Figures | undefined;
  /** Ends after the call's time; a soak that can go on later returns `done: false` then. */
  timeUp: AbortSignal;
  /** Ends when somebody stops the run. */
  signal: AbortSignal;
  say: (line: string) => void;
  /** Written down at once: a call that is broken off, or fails in another part, has done so much. */
  keep: (figures: Figures) => Promise<void>;
}

export interface Soak {
  what: string;
  /** Paths of the tree that it judges. */
  covers: readonly string[];
  /** Throws when what it looked at does not hold. */
  run(call: SoakCall): Promise<{ done: boolean; figures: Figures }>;
}

export const SOAKS: Readonly<Record<string, Soak>> = {
  arm64,
  boots,
  "ca-stack": caStack,
  deployments,
  firmware,
  "firmware-table": firmwareTable,
  "fuzz-long": fuzzLong,
  "image-twice": imageTwice,
  installed,
  inventory,
  leak,
  "own-keys": ownKeys,
  packets,
  protocols,
  rescue,
  rollout,
  slots,
};

// Which image of the stack this host fetches before a build asks for it: the runner first, which apps share layers with, then
// the builder; and only while room enough is left for apps afterwards.
import type { HostTarget } from "#api/host-agents.ts";

export interface Room {
  freeBytes: number;
  totalBytes: number;
  /** The state file system is memory, which apps could have instead. */
  inMemory: boolean;
}

export interface PrefetchInput {
  stack: HostTarget["stack"];
  /** Images that are here. */
  present: ReadonlySet<string>;
  room: Room;
}

export type Prefetch = { image: string; part: "runner" | "builder" } | { waits: string } | undefined;

/** What an image takes at most while it is unpacked beside its download; the images are a good deal smaller. */
const NEEDED_BYTES = { runner: 768 * 1024 ** 2, builder: 2 * 1024 ** 3 } as const;
const LEAST_LEFT_BYTES = 4 * 1024 ** 3;

export function nextPrefetch({ stack, present, room }: PrefetchInput): Prefetch {
  if (stack?.prefetch !== true) return undefined;
  const part = (["runner", "builder"] as const).find((each) => !present.has(stack[each]));
  if (part === undefined) return undefined;
  const leftBytes = room.freeBytes - NEEDED_BYTES[part];
  // In memory half stays free: jobs were placed here by the memory they may use, not by what images leave of it.
  const leastBytes = room.inMemory ? room.totalBytes / 2 : Math.max(LEAST_LEFT_BYTES, room.totalBytes / 10);
  if (leftBytes < leastBytes) return { waits: `too little ${room.inMemory ? "memory" : "disk"} for the ${part} image` };
  return { image: stack[part], part };
}

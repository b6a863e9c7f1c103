// How much memory V8 keeps beside what a program needs. Its own rules trade memory for time, as is right for a program that has a machine
// for itself; ours share one with what they are there for. To be called before there is much in the heap.
import { setFlagsFromString } from "node:v8";

/** Of each of the three spaces for new objects; V8's own 16 MiB each are not given back at rest. */
const NEW_SPACE_MIB = 2;

export function keepNewSpaceSmall(): void {
  setFlagsFromString(`--max-semi-space-size=${NEW_SPACE_MIB}`);
  setFlagsFromString("--semi-space-growth-factor=1");
}

/** The old space is collected when it has grown by a third: control with 40,000 jobs kept 450 MB for what is 250 (`bench -- cluster`). */
export const keepOldSpaceSmall = (): void => setFlagsFromString("--heap-growing-percent=30");

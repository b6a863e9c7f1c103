// How much more than it needs control's heap may grow to before it is collected. V8's own growth trades memory for time as is right for a
// program that lives for minutes: with 40,000 jobs it kept 450 MB for what is 250 (`bench -- cluster`).
import { setFlagsFromString } from "node:v8";

const GROWTH_PERCENT = 30;

/** To be called before there is much in the heap. */
export const keepHeapSmall = (): void => setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);

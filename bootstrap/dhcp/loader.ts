// What firmware is given to load, and the shapes of offer it is given it by: the two things that are learnt of it.

/** `uki`: no loader of anything, but the image itself as one signed program (Secure Boot with own keys). */
export type Loader = "ipxe" | "shim" | "uki";
export const LOADERS = ["uki", "ipxe", "shim"] as const;

/** Which shapes to try; a client that ignored the first is given the next. */
export type Rung = 0 | 1 | 2;

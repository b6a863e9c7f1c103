/** The version of every program of this tree. */
export const VERSION = "0.1.0";

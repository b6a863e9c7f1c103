export const DEBIAN_SETS: Readonly<Record<string, readonly string[]>>;
export const BASE_PACKAGES: readonly string[];
export const PROGRAMS_OF: Readonly<Record<string, readonly string[]>>;

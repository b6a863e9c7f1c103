export interface Facts {
  missingFiles: { name: string; path: string }[];
  architecture: string;
  debian: boolean;
  system: string;
  version: string;
  root: boolean;
  missingPackages: string[];
  unreachable: { url: string; why: string | undefined }[];
  cache: string;
  disks: { path: string; free: number; needed: number }[];
  memory: number;
  missingKernel: string[];
  needsGo: boolean;
  go: boolean;
}
export const MEMORY_BYTES: number;
export const NO_GO: string;
/** A program, or a path of one. */
export function findGo(): string | undefined;
export function problems(sets: readonly string[], facts: Facts): string[];

// Packs a tree into a squashfs. mksquashfs itself is reproducible for equal trees; SOURCE_DATE_EPOCH in its environment
// sets the file system's date and pulls newer file dates back to it. Older dates stay: Python's compiled files name their
// source's date, and with all dates equal every boot would compile them again.
import { exec } from "#lib/exec.ts";

export interface SquashfsOptions {
  tree: string;
  output: string;
  /** lz4 packs in seconds and is larger: for development. */
  fast: boolean;
  environment: NodeJS.ProcessEnv;
  signal: AbortSignal;
}

export async function makeSquashfs({ tree, output, fast, environment, signal }: SquashfsOptions): Promise<void> {
  await exec(["mksquashfs", tree, output, ...squashfsArguments(fast)], {
    env: environment,
    signal,
    timeoutMs: 1_200_000,
  });
}

export function squashfsArguments(fast: boolean): string[] {
  const compression = fast ? ["-comp", "lz4"] : ["-comp", "zstd", "-Xcompression-level", "12"];
  return [...compression, "-b", "131072", "-noappend", "-no-progress", "-no-exports", "-quiet"];
}

// The stack's images for a lab, made when their recipe has changed. Outside of the lab's network, which has no uplink; inside,
// `flynn stack build` then finds them made.
import { fileURLToPath } from "node:url";
import { ExecError, exec } from "#lib/exec.ts";
import { CACHE } from "../e2e/boot-image.ts";
import { withCacheLock } from "./cache-lock.ts";

const BUILD_MS = 1_200_000;
const MAIN = fileURLToPath(new URL("../../images/main.ts", import.meta.url));
export const STACK_CACHE = `${CACHE}/stack`;

export interface StackArchives {
  name: string;
  runner: { path: string };
  builder: { path: string };
  reused: boolean;
  seconds: number;
}

export async function stackArchives(options: {
  say: (line: string) => void;
  signal?: AbortSignal;
}): Promise<StackArchives> {
  const { say, signal } = options;
  const build = async (...flags: string[]) => {
    const { stdout } = await exec([process.execPath, MAIN, "stack", "--cache", STACK_CACHE, ...flags], {
      timeoutMs: BUILD_MS,
      signal,
      onOutput(chunk, stream) {
        if (stream === "stderr") for (const line of chunk.toString().split("\n")) if (line.trim()) say(`  ${line}`);
      },
    });
    return JSON.parse(stdout) as StackArchives;
  };
  return withCacheLock(CACHE, "stack", () =>
    // The packages of the last build will do; without a last build there is no way but the archives.
    build("--offline").catch((error: unknown) => {
      if (!(error instanceof ExecError) || error.exitCode === undefined) throw error;
      return build();
    }),
  );
}

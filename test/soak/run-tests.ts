// Test files as the runner judges them, one after the other; the first that fails ends the soak with what it printed.
import process from "node:process";
import { fileURLToPath } from "node:url";
import { runFile } from "../runner.ts";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export async function runTests(
  paths: readonly string[],
  options: { env?: Record<string, string>; signal: AbortSignal; limitMs: number; say: (line: string) => void },
): Promise<{ passed: number }> {
  const { env = {}, signal, limitMs, say } = options;
  Object.assign(process.env, env);
  let passed = 0;
  for (const path of paths) {
    signal.throwIfAborted();
    const result = await runFile(
      { path, isLab: false, limitMs, sizeBytes: 0 },
      { root: ROOT, signal, graceMs: 30_000 },
    );
    if (result.failed > 0) {
      say(result.output);
      throw new Error(`${path}: ${result.broken ?? `${result.failed} tests failed`}`);
    }
    passed += result.passed;
  }
  return { passed };
}

// The demo's second half on request: a git repository is pushed to the cluster of machines that were empty metal, built there and served.
import { join } from "node:path";
import type { Appliance } from "../lab/appliance.ts";
import { developer } from "../lab/developer.ts";
import type { Scope } from "../lab/scope.ts";

export const PUSHED = "pushed";
const STACK_MS = 600_000;
/** An emulated machine unpacks and runs the builder some twenty times slower than a real one. */
const PUSH_MS = 1_800_000;

interface PushStage {
  scope: Scope;
  appliance: Appliance;
  say: (line: string) => void;
  mark: (name: string, words: string) => void;
}

/** The stack is in the cache; see `stackArchives`. */
export async function pushApp({ scope, appliance, say, mark }: PushStage): Promise<void> {
  await appliance.flynn(["stack", "build", "--offline"], { timeoutMs: STACK_MS });
  mark("stack", "flynn stack build: builder and runner are in the cluster's registry");
  const dev = await developer(appliance, join(scope.folder, "work"));
  const work = await dev.work("node", PUSHED);
  const created = await work.flynn("create", PUSHED);
  if (created.code !== 0) throw new Error(`flynn create: ${created.stderr}`);
  const { code } = await dev.run(["git", "push", "flynn", "main"], {
    cwd: work.folder,
    timeoutMs: PUSH_MS,
    onOutput: (chunk) => {
      for (const line of chunk.toString().split(/[\r\n]+/)) if (line.trim()) say(`  ${line.trimEnd()}`);
    },
  });
  if (code !== 0) throw new Error(`git push exited ${code}`);
  mark("pushed", "git push flynn main: built on the metal, deployed");
}

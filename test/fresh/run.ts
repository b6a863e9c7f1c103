// `npm run test:fresh`: this commit on a machine that nobody has prepared. A minimal Debian 12 in a folder, entered with mounts and
// processes of its own, where the README's two commands run with cold caches. The kernel ends it all when this process ends.
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { exec } from "#lib/exec.ts";
import { run } from "#lib/run.ts";
import { openScope } from "../lab/scope.ts";
import { GRACE_MS, inRoot } from "./inside.ts";
import { freshPlan } from "./plan.ts";
import { makeRoot } from "./root.ts";

const TREE = fileURLToPath(new URL("../..", import.meta.url));
const say = (line: string) => process.stdout.write(`${line}\n`);

async function main(signal: AbortSignal): Promise<number> {
  const plan = freshPlan(process.argv.slice(2));
  if (typeof plan === "string") {
    process.stderr.write(`error: ${plan}\n`);
    return 2;
  }
  const scope = await openScope({ signals: false });
  const parts: { name: string; minutes: number; code: number }[] = [];
  const timed = async (name: string, work: () => Promise<number>): Promise<boolean> => {
    signal.throwIfAborted();
    say(`== ${name}`);
    const startedMs = performance.now();
    const code = await work();
    parts.push({ name, minutes: (performance.now() - startedMs) / 60_000, code });
    return code === 0;
  };
  try {
    const { folder } = scope;
    await timed("a minimal Debian 12, and this commit in it", async () => {
      const root = await makeRoot({ folder, go: plan.go, say: (line) => say(`  ${line}`), signal });
      await cloneInto(root, signal);
      return 0;
    });
    const root = join(folder, "root");
    const npm = (...argv: string[]) => inRoot(root, ["npm", ...argv], signal);
    let good = true;
    if (plan.demo) good = await timed("npm run demo", () => npm("run", "demo"));
    if (plan.test !== undefined) {
      const rest = plan.test.length > 0 ? ["--", ...plan.test] : [];
      good = (await timed(["npm test", ...rest].join(" "), () => npm("test", ...rest))) && good;
    }
    if (plan.keep) {
      const kept = `${root.replace(/\/flynn-lab\/.*/, "")}/flynn-fresh-root-${process.pid}`;
      await exec(["mv", root, kept]);
      say(`the root is kept in ${kept}; remove it with: rm -rf ${kept}`);
    }
    return good ? 0 : 1;
  } finally {
    for (const { name, minutes, code } of parts)
      say(`${minutes.toFixed(1).padStart(6)} min  ${name}${code === 0 ? "" : ` (exit ${code})`}`);
    await scope.close();
  }
}

/** What is committed, as a clone has it. */
async function cloneInto(root: string, signal: AbortSignal): Promise<void> {
  const { stdout } = await exec(["git", "-C", TREE, "status", "--porcelain"], { signal });
  if (stdout.trim() !== "") say("  note: what is not committed is not part of the clone");
  const clone = join(root, "root/flynn");
  await exec(["git", "clone", "--quiet", "--no-hardlinks", `file://${TREE}`, clone], { signal, timeoutMs: 120_000 });
}

run(main, { graceMs: GRACE_MS + 30_000 });

// A push by git over HTTPS to a whole control, phase by phase, against plain `git push` to a bare repository on the same disk: a first
// push and an empty change of a small app, and both of a 100 MB repository. The host's build itself takes no time there: what is
// measured is what the platform adds. Then pushes that a real host builds (push/builds.ts). Rounds are interleaved, a figure is the median.
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { listBuilds } from "#api/builds.ts";
import { exec } from "#lib/exec.ts";
import { type World, withWorld } from "../control/builds/world.ts";
import { realBuilds } from "./push/builds.ts";

export const name = "push";

interface Options {
  quick?: boolean;
  log?: (line: string) => void;
  signal?: AbortSignal;
}

const PUSH_TIMEOUT_MS = 300_000;

export async function run({ quick = false, log = () => undefined, signal }: Options = {}): Promise<{
  figures: Record<string, number>;
  ratios: Record<string, number>;
  notes: string[];
}> {
  const folder = await mkdtemp(join(tmpdir(), "push-bench-"));
  const figures: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  try {
    await withWorld(async (world) => {
      await writeFile(join(folder, "ca.pem"), world.control.caPem);
      for (const [label, files] of [
        ["small", 0],
        ["large", quick ? 10 : 100],
      ] as const) {
        const rounds = quick ? 1 : 3;
        const seen: Record<string, number[]> = {};
        for (let round = 0; round < rounds && !signal?.aborted; round++) {
          log(`${label}, round ${round + 1} of ${rounds}`);
          for (const [what, ms] of Object.entries(
            await oneRound(world, { folder, app: `${label}${round}`, files, signal }),
          ))
            seen[what] = [...(seen[what] ?? []), ms];
        }
        for (const [what, all] of Object.entries(seen)) figures[`${label}${what}Ms`] = Math.round(median(all));
        for (const what of ["First", "Again"])
          ratios[`${label}${what}`] = median(seen[`${what}Plain`]!) / median(seen[`${what}Taken`]!);
      }
    });
    const built = await realBuilds({ rounds: quick ? 1 : 3, log, signal });
    Object.assign(figures, built.figures);
    Object.assign(ratios, built.ratios);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const notes = [
    "Taken: until the source is checked and the build queued, the part that plain git has too; ratios are plain / taken",
    "Build: job placed, source fetched, slug stored. Deploy: release and deployment, jobs and routers answering at once",
    "node, docker: built on a real host; dockerBuild: plain `docker build` of the same change / our build of it, from queue to registry",
  ];
  return { figures, ratios, notes };
}

interface Round {
  folder: string;
  app: string;
  files: number;
  signal: AbortSignal | undefined;
}

/** A fresh repository pushed to both, then an empty change pushed to both. */
async function oneRound(world: World, { folder, app, files, signal }: Round): Promise<Record<string, number>> {
  const { control } = world;
  const work = join(folder, app);
  const bare = join(folder, `${app}.git`);
  const git = (...args: string[]) =>
    exec(["git", "-C", work, "-c", "user.name=b", "-c", "user.email=b@b", ...args], {
      timeoutMs: PUSH_TIMEOUT_MS,
      ...(signal ? { signal } : {}),
      env: { PATH: process.env["PATH"], HOME: folder, GIT_CONFIG_NOSYSTEM: "1", GIT_TERMINAL_PROMPT: "0" },
    });
  await mkdir(work);
  await exec(["git", "init", "-q", "--bare", bare]);
  await git("init", "-q", "-b", "main");
  await writeFile(join(work, "Procfile"), "web: node server.js\n");
  await writeFile(join(work, "server.js"), "1");
  for (let n = 0; n < files; n++) await writeFile(join(work, `asset-${n}`), randomBytes(1_000_000));
  await git("add", ".");
  await git("commit", "-qm", "one");
  await world.create(app);
  const url = new URL(`/git/${app}.git`, control.url);
  Object.assign(url, { username: "bench", password: control.token });
  const ours = ["-c", `http.sslCAInfo=${join(folder, "ca.pem")}`, "push", "-q", url.href, "main"];

  const measured: Record<string, number> = {};
  for (const what of ["First", "Again"]) {
    measured[`${what}Plain`] = await timed(() => git("push", "-q", bare, "main"));
    const startedMs = Date.now();
    measured[`${what}Whole`] = await timed(() => git(...ours));
    const { items } = await control.admin.call(listBuilds, { params: { app }, query: { limit: 1 } });
    const at = (time: string | undefined) => Date.parse(time ?? "");
    const build = items[0]!;
    measured[`${what}Taken`] = at(build.createdAt) - startedMs;
    measured[`${what}Build`] = at(build.builtAt) - at(build.createdAt);
    measured[`${what}Deploy`] = at(build.finishedAt) - at(build.builtAt);
    await git("commit", "-q", "--allow-empty", "-m", "again");
  }
  await Promise.all([work, bare].map((path) => rm(path, { recursive: true, force: true })));
  return measured;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

const median = (values: number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;

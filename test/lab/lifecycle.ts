// The lifecycle of Cloud Native Buildpacks for a lab's builder image: built once from its published source, outside of the lab's
// network, and kept in the cache. It needs Go on this machine and says so when there is none.
import { access, cp, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { exec } from "#lib/exec.ts";
import { findGo, NO_GO } from "#lib/setup/preflight.mjs";
import { machineInstallers } from "../../images/installers.ts";
import { CACHE } from "../e2e/boot-image.ts";
import { withCacheLock } from "./cache-lock.ts";

const MODULE = "github.com/buildpacks/lifecycle";
const VERSION = "0.20.11";
const PROGRAMS = ["lifecycle", "launcher"] as const;
/** From nothing, on two busy cores. */
export const LIFECYCLE_BUILD_MS = 1_200_000;
const FETCH_MS = 120_000;

export type Lifecycle = Record<(typeof PROGRAMS)[number], string>;

interface LifecycleOptions {
  say: (line: string) => void;
  signal?: AbortSignal;
}

export const lifecycle = (options: LifecycleOptions): Promise<Lifecycle> =>
  withCacheLock(CACHE, "lifecycle", () => buildLifecycle(options));

async function buildLifecycle({ say, signal }: LifecycleOptions): Promise<Lifecycle> {
  const folder = join(CACHE, `lifecycle-${VERSION}`);
  const paths = Object.fromEntries(PROGRAMS.map((name) => [name, join(folder, name)])) as Lifecycle;
  const there = await Promise.all(
    PROGRAMS.map((name) =>
      access(paths[name]).then(
        () => true,
        () => false,
      ),
    ),
  );
  if (there.every(Boolean)) return paths;
  const go = findGo();
  if (go === undefined) throw new Error(`${NO_GO}: the lifecycle is built with it`);
  say(`building the lifecycle ${VERSION} with ${go}; it is kept in ${folder}`);
  const scratch = await mkdtemp(join(tmpdir(), "flynn-lifecycle-"));
  try {
    // Go knows none of the other installers' settings.
    const { caFile } = await machineInstallers({ directory: scratch, signal: signal ?? new AbortController().signal });
    const env = { ...process.env, ...(caFile === undefined ? {} : { SSL_CERT_FILE: caFile }) };
    const { stdout } = await exec([go, "mod", "download", "-json", `${MODULE}@v${VERSION}`], {
      cwd: scratch,
      env,
      timeoutMs: FETCH_MS,
      signal,
    });
    const { Dir } = JSON.parse(stdout) as { Dir: string };
    // Modules are kept read-only, and are built by their own go.sum.
    await cp(Dir, join(scratch, "source"), { recursive: true });
    await mkdir(join(scratch, "out"));
    const flags = ["-trimpath", "-buildvcs=false", "-ldflags", `-s -w -X ${MODULE}/cmd.Version=${VERSION}`];
    await exec([go, "build", ...flags, "-o", `${join(scratch, "out")}/`, ...PROGRAMS.map((name) => `./cmd/${name}`)], {
      cwd: join(scratch, "source"),
      env: { ...env, CGO_ENABLED: "0" },
      timeoutMs: LIFECYCLE_BUILD_MS,
      signal,
    });
    await mkdir(folder, { recursive: true });
    for (const name of PROGRAMS) {
      await cp(join(scratch, "out", name), `${paths[name]}.part`);
      await rename(`${paths[name]}.part`, paths[name]);
    }
    return paths;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

// The lifecycle of Cloud Native Buildpacks for a lab's builder image: built once from its published source, outside of the lab's
// network, and kept in the cache. It needs Go on this machine and says so when there is none.
import { access, cp, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { exec } from "#lib/exec.ts";
import { CACHE } from "../e2e/boot-image.ts";

const MODULE = "github.com/buildpacks/lifecycle";
const VERSION = "0.20.11";
const PROGRAMS = ["lifecycle", "launcher"] as const;
/** From nothing, on two busy cores. */
export const LIFECYCLE_BUILD_MS = 1_200_000;
const FETCH_MS = 120_000;
/** What the module asks for. */
const GO_LEAST = [1, 24] as const;

export type Lifecycle = Record<(typeof PROGRAMS)[number], string>;

export async function lifecycle({ say, signal }: { say: (line: string) => void; signal?: AbortSignal }) {
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
  const go = await findGo();
  say(`building the lifecycle ${VERSION} with ${go}; it is kept in ${folder}`);
  const scratch = await mkdtemp(join(tmpdir(), "flynn-lifecycle-"));
  try {
    const { stdout } = await exec([go, "mod", "download", "-json", `${MODULE}@v${VERSION}`], {
      cwd: scratch,
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
      env: { ...process.env, CGO_ENABLED: "0" },
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

async function findGo(): Promise<string> {
  const missing = `building the lifecycle needs Go ${GO_LEAST.join(".")} or newer in PATH or /usr/local/go`;
  for (const go of ["go", "/usr/local/go/bin/go"]) {
    const said = await exec([go, "env", "GOVERSION"], { timeoutMs: 10_000 }).catch(() => undefined);
    const [, major, minor] = /^go(\d+)\.(\d+)/.exec(said?.stdout ?? "") ?? [];
    if (Number(major) === GO_LEAST[0] && Number(minor) >= GO_LEAST[1]) return go;
  }
  throw new Error(missing);
}

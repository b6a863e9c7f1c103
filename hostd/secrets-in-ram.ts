// For profiles whose hosts keep secrets in RAM alone: jobs' variables stand in clear in Docker's records of its containers
// (/var/lib/docker/containers/ID/config.v2.json), and once more in those of a containerd that Docker starts itself when the machine's
// own does not run, so both lie on a tmpfs. Docker then knows no container after a reboot, and what they
// wrote would stay on the disk for nobody: it is taken away, before Docker starts.
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { totalmem } from "node:os";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { isMounted } from "./state-disk/mounts.ts";

/** Where Docker keeps what containers are given. */
export const containersOf = (dockerDir: string): string => join(dockerDir, "containers");
/** The database of Docker's own containerd: what each container is run with. */
const CONTAINERD = "containerd/daemon/io.containerd.metadata.v1.bolt";
const LAYERS = "image/overlay2/layerdb/mounts";

export async function keepSecretsInRam(
  dockerDir: string,
  { signal, mount = mountTmpfs }: { signal: AbortSignal; mount?: (path: string, signal: AbortSignal) => Promise<void> },
): Promise<void> {
  await forgetContainers(dockerDir);
  // That of containers last: where it is mounted, the other one is too.
  for (const path of [join(dockerDir, CONTAINERD), containersOf(dockerDir)]) {
    await mkdir(path, { recursive: true, mode: 0o710 });
    await mount(path, signal);
  }
}

/** For a boot that keeps them on the disk again: what the last boot's containers wrote is there for nobody, since their records were in RAM. */
export async function forgetUnrecorded(dockerDir: string): Promise<void> {
  const recorded = await readdir(containersOf(dockerDir)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error; // a disk that does not answer is no empty one
    return [];
  });
  if (recorded.length === 0) await forgetContainers(dockerDir);
}

async function mountTmpfs(path: string, signal: AbortSignal): Promise<void> {
  if (await isMounted(path)) return; // by a run that was cut off
  // Kept output lies there too, 20 MiB a job at most.
  const size = Math.floor(totalmem() / 4);
  await exec(["mount", "-t", "tmpfs", "-o", `size=${size},mode=0710,nosuid,nodev`, "flynn-secrets", path], {
    timeoutMs: 60_000,
    signal,
  });
}

/** Records of containers, their writable layers and the volumes that nobody named: images and named volumes stay. */
export async function forgetContainers(dockerDir: string): Promise<void> {
  const list = (path: string) => readdir(join(dockerDir, path)).catch(() => [] as string[]);
  const remove = (path: string) => rm(join(dockerDir, path), { recursive: true, force: true });
  for (const name of await list(CONTAINERD)) await remove(join(CONTAINERD, name));
  for (const id of await list("containers")) await remove(join("containers", id));
  for (const id of await list(LAYERS)) {
    for (const name of ["mount-id", "init-id"]) {
      const layer = await readFile(join(dockerDir, LAYERS, id, name), "utf8").catch(() => "");
      if (/^[0-9a-f]{64}(-init)?$/.test(layer)) await remove(join("overlay2", layer));
    }
    await remove(join(LAYERS, id));
  }
  for (const name of await list("volumes")) if (/^[0-9a-f]{64}$/.test(name)) await remove(join("volumes", name));
}

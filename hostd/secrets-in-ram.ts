// For profiles whose hosts keep secrets in RAM alone: jobs' variables stand in clear in Docker's records of its containers
// (/var/lib/docker/containers/ID/config.v2.json), so those lie on a tmpfs. Docker then knows no container after a reboot, and what they
// wrote would stay on the disk for nobody: it is taken away, before Docker starts.
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { totalmem } from "node:os";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";

/** Where Docker keeps what containers are given. */
export const containersOf = (dockerDir: string): string => join(dockerDir, "containers");
const LAYERS = "image/overlay2/layerdb/mounts";

export async function keepSecretsInRam(
  dockerDir: string,
  { signal, mount = mountTmpfs }: { signal: AbortSignal; mount?: (path: string, signal: AbortSignal) => Promise<void> },
): Promise<void> {
  const containers = containersOf(dockerDir);
  await forgetContainers(dockerDir);
  await mkdir(containers, { recursive: true, mode: 0o710 });
  await mount(containers, signal);
}

async function mountTmpfs(path: string, signal: AbortSignal): Promise<void> {
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

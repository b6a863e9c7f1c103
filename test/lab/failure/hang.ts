// Containers that do not end, of two real kinds. Frozen: in a freezer of cgroup v1, where SIGKILL waits until it is thawed, as with a
// process that sleeps uninterruptibly over a dead disk. Unwatched: its containerd-shim is stopped, so every call of Docker about it
// hangs. Both go on when the scope closes, or nothing of the host could end.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { until } from "#lib/time.ts";
import type { ClusterHost } from "../appliance.ts";
import { signal, undo } from "../leftovers.ts";
import type { Scope } from "../scope.ts";

const CGROUPS = "/sys/fs/cgroup";

/** Ends the hang; twice does no harm. */
export type GoOn = () => Promise<void>;

export async function freeze(scope: Scope, host: ClusterHost, containerId: string): Promise<GoOn> {
  const group = `${scope.id}-${host.name}`;
  // Not the container's own: runc thaws that one before it kills.
  const frozen = `${scope.id}-frozen-${containerId.slice(0, 12)}`;
  const freezer = join(CGROUPS, "freezer", frozen);
  const listed = async (directory: string) =>
    (await readFile(join(directory, "cgroup.procs"), "utf8")).split("\n").filter(Boolean);
  scope.keep({ kind: "freezer", name: frozen });
  await mkdir(freezer);
  const areIn = async () => {
    const [pids, inside] = [await listed(join(CGROUPS, "memory", group, containerId)), await listed(freezer)];
    const others = pids.filter((pid) => !inside.includes(pid));
    for (const pid of others)
      await writeFile(join(freezer, "cgroup.procs"), pid).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ESRCH") throw error; // it was a short one
      });
    return pids.length > 0 && others.length === 0;
  };
  await until(areIn, { what: `all of container ${containerId} in its freezer`, timeoutMs: 5_000, everyMs: 1 });
  await writeFile(join(freezer, "freezer.state"), "FROZEN");
  const isFrozen = async () => (await readFile(join(freezer, "freezer.state"), "utf8")).trim() === "FROZEN";
  await until(isFrozen, { what: `container ${containerId} being frozen`, timeoutMs: 5_000, everyMs: 5 });
  return () => undo({ kind: "freezer", name: frozen });
}

export async function stopShim(scope: Scope, containerId: string): Promise<GoOn> {
  const found = (await readdir("/proc"))
    .filter((name) => /^\d+$/.test(name))
    .map(async (pid) => {
      const argv = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
      return argv.includes("containerd-shim") && argv.includes(containerId) ? Number(pid) : 0;
    });
  const pids = (await Promise.all(found)).filter((pid) => pid > 0);
  if (pids.length !== 1) throw new Error(`container ${containerId} has ${pids.length} shims`);
  const goOn = async () => void signal(pids[0]!, "SIGCONT");
  scope.defer(`let the shim of ${containerId} go on`, goOn);
  signal(pids[0]!, "SIGSTOP");
  return goOn;
}

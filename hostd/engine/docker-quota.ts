// Whether Docker can hold a container's writable layer to a size: overlay2 over xfs that is mounted with project quotas (Docker's
// `--storage-opt size`). Anything else refuses the option, so it is only sent where it is known to work.

/** The part of GET /info that is read. */
export interface DockerInfo {
  InitCommit?: { ID?: string };
  Driver?: string;
  DriverStatus?: [string, string][] | null;
  DockerRootDir?: string;
}

/** `mounts`: /proc/self/mountinfo. */
export function hasQuota({ Driver, DriverStatus, DockerRootDir }: DockerInfo, mounts: string): boolean {
  const backing = (DriverStatus ?? []).find(([name]) => name === "Backing Filesystem")?.[1];
  if (Driver !== "overlay2" || backing !== "xfs" || DockerRootDir === undefined) return false;
  const found = mounts
    .split("\n")
    // proc(5): mount point is the fifth field; after " - " come type, source and the file system's own options.
    .map((line) => ({
      point: line.split(" ")[4] ?? "",
      options: line.split(" - ")[1]?.split(" ")[2]?.split(",") ?? [],
    }))
    .filter(({ point }) => point !== "" && `${DockerRootDir}/`.startsWith(point === "/" ? "/" : `${point}/`))
    .reduce((a, b) => (b.point.length >= a.point.length ? b : a), { point: "", options: [] as string[] });
  return found.options.some((option) => option === "prjquota" || option === "pquota");
}

// Which images a host may pull: those of apps that have a job or a build on it now, and the stack, which every build starts from.

import type { Artifact } from "#api/artifacts.ts";
import { isOver, type Job } from "#api/jobs.ts";
import { repositoryOf } from "./builds/record.ts";
import type { Context } from "./context.ts";
import { keys } from "./keys.ts";
import type { ReleaseRecord } from "./records.ts";

const STACK = /^stack\/(builder|runner)$/;

/** What is asked of the registry: `undefined` for anything but reading what is named by its digest. */
export function pullOf(method: string | undefined, path: string): { repository: string } | "version" | undefined {
  if (method !== "GET" && method !== "HEAD") return undefined;
  if (path === "/v2/" || path === "/v2") return "version";
  const name =
    /^\/v2\/([a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)\/(?:manifests|blobs)\/sha256:[0-9a-f]{64}$/;
  const repository = path.length > 512 ? undefined : name.exec(path)?.[1];
  return repository === undefined ? undefined : { repository };
}

export function mayPull(hostId: string, repository: string, { store, jobs }: Pick<Context, "store" | "jobs">): boolean {
  if (STACK.test(repository)) return true;
  const imageOf = ({ appId, releaseId, task }: Job): string | undefined => {
    if (task?.kind === "build") return repositoryOf(appId); // its builder and run image, where they are the app's own
    const artifactId = store.get<ReleaseRecord>(keys.release(appId, releaseId))?.value.artifactId;
    return artifactId === undefined ? undefined : store.get<Artifact>(keys.artifact(artifactId))?.value.repository;
  };
  return jobs.onHost(hostId).some((job) => !isOver(job) && imageOf(job) === repository);
}

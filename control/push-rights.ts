// Which image a host may store in the registry: that of a Dockerfile's build whose job is on it now, in that app's repository.
import { hasEnded } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import type { Job } from "#api/jobs.ts";
import { type BuildRecord, buildsOf, repositoryOf } from "./builds/record.ts";
import { keys } from "./keys.ts";
import type { LaidImage } from "./registry-layer.ts";
import type { Store } from "./store/store.ts";

export interface PushRight {
  /** The build on this host whose image goes there; undefined: there is none, or it has its image's end already. */
  open(hostId: string, repository: string): { id: string; appId: string } | undefined;
  /** The host had that app's image in its hands before: its layers are no secret to it. */
  hasBuilt(hostId: string, repository: string): boolean;
  /** On the build's record before it resolves. Fault `not-found` when the build takes nothing any more. */
  keep(hostId: string, build: { id: string; appId: string }, image: LaidImage): Promise<void>;
}

const APPS = "apps/";

export function pushRights(store: Store): PushRight {
  const isOpen = (hostId: string, build: BuildRecord): boolean => {
    if (hasEnded(build) || build.ending !== undefined || build.result !== undefined) return false;
    const job = build.jobId === undefined ? undefined : store.get<Job>(keys.job(build.appId, build.jobId))?.value;
    return build.kind === "dockerfile" && job?.hostId === hostId && job.state !== "lost";
  };
  const buildsFor = (repository: string): BuildRecord[] => {
    const appId = repository.startsWith(APPS) ? repository.slice(APPS.length) : "";
    return appId === "" || repositoryOf(appId) !== repository ? [] : buildsOf(store, appId);
  };
  return {
    open: (hostId, repository) => buildsFor(repository).findLast((build) => isOpen(hostId, build)),
    hasBuilt: (hostId, repository) => buildsFor(repository).some((build) => build.hostId === hostId),
    async keep(hostId, { id, appId }, image) {
      const found = store.get<BuildRecord>(keys.build(appId, id));
      if (found === undefined || !isOpen(hostId, found.value))
        throw new Fault("not-found", `no build ${id} on this host`);
      const { key, value, version } = found;
      await store.commit({
        actor: "builder",
        expect: [{ key, version }],
        mutations: [{ key, value: { ...value, product: { type: "image", ...image } } satisfies BuildRecord }],
      });
    },
  };
}

// Whose processor a job's program is for. To the scheduler a host's architecture is one more tag, under a name that people cannot give:
// so the placement scan, the blocked queue and the reasons need no rule of their own for it.
import type { Artifact } from "#api/artifacts.ts";
import { keys, PREFIX } from "../keys.ts";
import type { HostRecord, ReleaseRecord } from "../records.ts";
import type { Store } from "../store/store.ts";
import type { Tags } from "./tag-classes.ts";

const ARCHITECTURE = "(architecture)";
/** Of hosts and images that say nothing of it: there was no other before. */
const FIRST = "amd64";
/** The images that build apps are made for it alone. */
const BUILDS = "amd64";
/** In place of a release, of jobs that build one. */
const BUILD = "build";

export const hostTags = (tags: Tags, architecture = FIRST): Tags => ({ ...tags, [ARCHITECTURE]: architecture });

/** Of the hosts there are, the most frequent first. */
export function hostArchitectures(store: Store): string[] {
  const counts = new Map<string, number>();
  for (const { value } of store.list<HostRecord>(PREFIX.hosts)) {
    const { architecture = FIRST } = value;
    counts.set(architecture, (counts.get(architecture) ?? 0) + 1);
  }
  return [...counts].sort(([a, one], [b, other]) => other - one || (a < b ? -1 : 1)).map(([name]) => name);
}

/** What jobs of a release ask of a host: these tags, and the processor that its image is for. */
export function askedTags(store: Store, tags: Tags, appId: string, releaseId: string): Tags {
  const architecture = releaseId === BUILD ? BUILDS : imageOf(store, appId, releaseId);
  return architecture === undefined ? tags : { ...tags, [ARCHITECTURE]: architecture };
}

function imageOf(store: Store, appId: string, releaseId: string): string | undefined {
  const artifactId = store.get<ReleaseRecord>(keys.release(appId, releaseId))?.value.artifactId;
  if (artifactId === undefined) return undefined;
  return store.get<Artifact>(keys.artifact(artifactId))?.value.architecture;
}

/** The two apart, for words. */
export function apart(all: Tags): { architecture: string | undefined; tags: Tags } {
  const { [ARCHITECTURE]: architecture, ...tags } = all;
  return { architecture, tags };
}

/** Why a host of another architecture does not do. */
export const forWhom = (release: string, architecture: string): string =>
  release === BUILD
    ? `builds run on ${architecture} hosts: the images that build apps are for ${architecture} only`
    : `the image is for ${architecture}`;

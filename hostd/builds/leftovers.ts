// What builds leave in the engine, found by name and label, and taken away: of one build, or of all that an earlier hostd ran.
import { BUILD_LABELS } from "./engine.ts";
import { type BuildParts, isOfBuild } from "./run.ts";

interface Wanted {
  /** Undefined: of every build. */
  buildId?: string;
  /** Told of each build before anything of it goes: what fails half-way is known all the same. */
  onFound?: (buildId: string) => void;
}

/** Takes away containers, volumes and unnamed images of builds. */
export async function removeLeftovers(
  { engine, jobEngine }: Pick<BuildParts, "engine" | "jobEngine">,
  { buildId, onFound }: Wanted,
): Promise<void> {
  const isOwners = (owner: string | undefined): owner is string =>
    owner !== undefined && (buildId === undefined || owner === buildId);
  // A label alone may be an image's own: the name, which hostd gave, says the same.
  const isLeft = (name: string, labels: Readonly<Record<string, string>>): boolean => {
    const owner = labels[BUILD_LABELS.build];
    if (!isOwners(owner) || !isOfBuild(name, owner)) return false;
    onFound?.(owner);
    return true;
  };
  for (const { name, labels } of await engine.containers(BUILD_LABELS.build))
    if (isLeft(name, labels)) await jobEngine.remove(name);
  // Docker's own steps say nothing of whose they are.
  if (buildId === undefined) for (const { id } of await engine.buildSteps()) await jobEngine.remove(id);
  for (const { name, labels } of await engine.volumes(BUILD_LABELS.build))
    if (isLeft(name, labels)) await engine.removeVolume(name);
  // An image that is known by a name has become an app's. Its label may be a lie, so nobody is reported for it.
  for (const { id, refs, labels } of await engine.images())
    if (refs.length === 0 && isOwners(labels[BUILD_LABELS.build])) await engine.removeImage(id, { keepParents: true });
}

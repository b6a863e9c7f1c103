// From what a build made to a deployment: the image in the registry, its artifact, its release and the deployment are one commit.
import type { Artifact } from "#api/artifacts.ts";
import { Fault } from "#api/fault.ts";
import { newId } from "#lib/ids.ts";
import { formatSize } from "#lib/units.ts";
import { nextRelease, releaseEvent } from "../apps/release.ts";
import { claimImage } from "../disk/images.ts";
import { keys } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import type { LaidImage } from "../registry-layer.ts";
import { logText } from "./deploying.ts";
import type { Look, Turn } from "./look.ts";
import { processesOf } from "./processes.ts";
import { repositoryOf } from "./record.ts";
import { readSource } from "./start.ts";
import { detail, step } from "./words.ts";

/** Storing -> deploying. Faults: `unavailable` (the registry is away), `no-capacity`, else the build's end. */
export async function releaseTurn(look: Look): Promise<Turn> {
  const { context, build, app, log, files, deployments } = look;
  const { store, now } = context;
  const facts = await files.facts(build.appId, build.id);
  if (facts === undefined) throw new Fault("invalid", "its source is gone from control's disk");
  const { procfile, appJson } = readSource(facts);
  const found = await files.found(build.appId, build.id);
  const before = deployments.headed(app.value);
  const processes = processesOf({
    kind: build.kind!,
    procfile,
    found,
    ...(appJson?.release === undefined ? {} : { release: appJson.release }),
    health: appJson?.healthchecks ?? {},
    before: before?.artifactId === undefined ? {} : before.processes,
  });
  // Buildpacks say it themselves, before they end.
  if (!(await logText(look)).includes(TYPES)) await log.writeOnce(typesFound(procfile, processes));
  await log.writeOnce(step("Storing the image"));
  const artifactId = newId("artifact");
  const image = await imageOf(look, artifactId);
  await log.writeOnce(detail(`Stored: ${formatSize(image.sizeBytes)}`));

  const at = now();
  const artifact: Artifact = {
    id: artifactId,
    appId: build.appId,
    repository: repositoryOf(build.appId),
    source: `build ${build.number}`,
    createdAt: at.toISOString(),
    digest: image.digest,
    sizeBytes: image.sizeBytes,
    architecture: image.architecture,
  };
  const { commit } = build.source;
  const description = commit === undefined ? `build ${build.number}` : `deploy ${commit.slice(0, 12)}`;
  const requested = { artifactId: artifact.id, processes, description };
  const made = nextRelease(context, app.value, before, requested, { by: build.createdBy, at });
  const release: ReleaseRecord = { ...made, buildId: build.id, ...(commit === undefined ? {} : { commit }) };
  const first = before?.artifactId === undefined;
  const wanted = first ? firstCounts(appJson?.formation ?? {}, processes) : undefined;
  const { deployment, changes, expect, event } = deployments.draft(app, release, {
    by: build.createdBy,
    ...look.plan.staging,
    ...(wanted === undefined ? {} : { wanted }),
  });
  return {
    changed: {
      state: "deploying",
      reason: "",
      artifactId: artifact.id,
      releaseId: release.id,
      version: release.version,
      deploymentId: deployment.id,
    },
    more: [
      { key: keys.artifact(artifact.id), value: artifact },
      { key: keys.release(build.appId, release.id), value: release },
      ...changes,
    ],
    // The release was made from where the app was headed then: a change in between makes it anew.
    expect: [...expect, ...(store.get(app.key) === undefined ? [] : [{ key: app.key, version: app.version }])],
    events: [releaseEvent(app.value, release), event],
  };
}

async function imageOf({ context, build, plan, images, files, signal }: Look, artifactId: string): Promise<LaidImage> {
  const { product } = build;
  if (product === undefined) throw new Fault("invalid", "the build made no image");
  if (product.type === "image") return product;
  if (plan.stack === undefined) throw new Fault("invalid", "the build has no stack to be laid on");
  const { digest, diffId, sizeBytes } = product;
  const requested = {
    base: plan.stack.runner,
    layer: { file: files.slug(build.appId, build.id), digest, diffId, sizeBytes },
    repository: repositoryOf(build.appId),
    tag: build.id,
    createdAt: build.createdAt,
  };
  const claim = claimImage(context.store, context.config, build.appId);
  try {
    claim.add(sizeBytes);
    await context.room.admit(sizeBytes);
    const laid = await context.room.filling(signal, (both) => images.layOn(requested, both));
    claim.end(artifactId);
    return laid;
  } catch (error) {
    claim.end();
    throw error;
  }
}

/** app.json's formation at the first deployment, for processes that there are. */
function firstCounts(formation: Readonly<Record<string, number>>, processes: Readonly<Record<string, unknown>>) {
  return Object.fromEntries(
    Object.entries(formation).filter(([name]) => Object.hasOwn(processes, name) && name !== "release"),
  );
}

const TYPES = step("Discovering process types");

/** In one piece: its first line says that all of it is told. */
function typesFound(
  procfile: Readonly<Record<string, unknown>> | undefined,
  processes: Readonly<Record<string, unknown>>,
) {
  const others = Object.keys(processes).filter((name) => !Object.hasOwn(procfile ?? {}, name));
  const declared =
    procfile === undefined ? "" : detail(`Procfile declares types     -> ${list(Object.keys(procfile))}`);
  const added = others.length === 0 ? "" : detail(`Default types for the build -> ${list(others)}`);
  return `${TYPES}${declared}${added}`;
}

const list = (names: readonly string[]): string => [...names].sort().join(", ");

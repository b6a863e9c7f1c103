// Artifacts: an uploaded archive, or an image of the local Docker, into the registry.

import type { Readable } from "node:stream";
import * as artifacts from "#api/artifacts.ts";
import { Fault } from "#api/fault.ts";
import { newId } from "#lib/ids.ts";
import { findApp } from "../apps/find.ts";
import type { Context } from "../context.ts";
import { keys } from "../keys.ts";
import type { Mount } from "../mount.ts";
import type { Registry } from "../registry.ts";

/** Puts an archive into the registry as an artifact of the app. */
export type StoreImage = (wish: {
  app: string;
  archive: Readable;
  source: string;
  by: string;
  signal: AbortSignal;
}) => Promise<artifacts.Artifact>;

export function storeImage({ store, now }: Context, registry: Registry): StoreImage {
  return async ({ app: name, archive, source, by, signal }) => {
    const { value: app } = findApp(store, name);
    const { digest, sizeBytes, architecture } = await registry.push(archive, `apps/${app.id}`, signal);
    const artifact: artifacts.Artifact = {
      id: newId("artifact"),
      appId: app.id,
      repository: `apps/${app.id}`,
      digest,
      source,
      sizeBytes,
      architecture,
      createdAt: now().toISOString(),
    };
    await store.commit({ actor: by, mutations: [{ key: keys.artifact(artifact.id), value: artifact }] });
    return artifact;
  };
}

export function mountArtifacts(mount: Mount, { store }: Context, image: StoreImage): void {
  mount(artifacts.createArtifact, ({ query, upload, principal, signal }) => {
    if (upload === undefined || upload === null)
      throw new Fault("invalid", "send the archive as the body, content-type application/x-tar");
    return image({ app: query.app, archive: upload, source: query.source ?? "archive", by: principal.name, signal });
  });
  mount(artifacts.getArtifact, ({ params }) => {
    const artifact = store.get<artifacts.Artifact>(keys.artifact(params.id))?.value;
    if (artifact === undefined) throw new Fault("not-found", `no artifact ${params.id}`);
    return artifact;
  });
}

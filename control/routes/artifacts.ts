// Artifacts: an uploaded archive, or an image of the local Docker, into the registry.

import type { Readable } from "node:stream";
import * as artifacts from "#api/artifacts.ts";
import { Fault } from "#api/fault.ts";
import { newId } from "#lib/ids.ts";
import { findApp } from "../apps/find.ts";
import type { Context } from "../context.ts";
import { claimImage } from "../disk/images.ts";
import { keys } from "../keys.ts";
import type { Mount } from "../mount.ts";
import type { Registry } from "../registry.ts";

/** Puts an archive into the registry. The artifact it returns is the caller's to commit. Faults: see registry.push. */
export type StoreImage = (requested: {
  appId: string;
  archive: Readable;
  source: string;
  signal: AbortSignal;
}) => Promise<artifacts.Artifact>;

export function storeImage(
  { store, config, now }: Pick<Context, "store" | "config" | "now">,
  registry: Registry,
): StoreImage {
  return async ({ appId, archive, source, signal }) => {
    const repository = `apps/${appId}`;
    const id = newId("artifact");
    const claim = claimImage(store, config, appId);
    try {
      const pushed = await registry.push(claim.counted(archive), repository, signal);
      claim.end(id);
      return { id, appId, repository, source, createdAt: now().toISOString(), ...pushed };
    } catch (error) {
      claim.end();
      throw error;
    }
  };
}

export function mountArtifacts(mount: Mount, { store }: Pick<Context, "store">, image: StoreImage): void {
  mount(artifacts.createArtifact, async ({ query, upload, principal, signal, idempotentFor }) => {
    if (upload === undefined || upload === null)
      throw new Fault("invalid", "send the archive as the body, content-type application/x-tar");
    const { id: appId } = findApp(store, query.app).value;
    const artifact = await image({ appId, archive: upload, source: query.source ?? "archive", signal });
    findApp(store, appId); // it may have been deleted while the archive came in
    const { result } = await store.commit({
      actor: principal.name,
      ...idempotentFor(artifact.digest),
      mutations: [{ key: keys.artifact(artifact.id), value: artifact }],
      result: artifact,
    });
    return result;
  });
  mount(artifacts.getArtifact, ({ params }) => {
    const artifact = store.get<artifacts.Artifact>(keys.artifact(params.id))?.value;
    if (artifact === undefined) throw new Fault("not-found", `no artifact ${params.id}`);
    return artifact;
  });
}

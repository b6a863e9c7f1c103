// Artifacts: what releases run. An image in the built-in registry, known by its digest.
import { type Static, Type } from "typebox";
import { BEGINS_ANEW, endpoint } from "./endpoint.ts";
import { Id, IdParams, object, Time } from "./schema.ts";

export const Artifact = object({
  id: Id,
  appId: Id,
  repository: Type.String({ description: "Repository in the built-in registry." }),
  digest: Type.String({ pattern: "^sha256:[0-9a-f]{64}$" }),
  source: Type.String({ description: "What it was made from, as the caller named it." }),
  sizeBytes: Type.Integer({ description: "Bytes of the archive as uploaded." }),
  architecture: Type.String(),
  createdAt: Time,
});
export type Artifact = Static<typeof Artifact>;

export const createArtifact = endpoint({
  id: "createArtifact",
  method: "POST",
  path: "/v1/artifacts",
  location: "/v1/artifacts/{id}",
  idempotent: true,
  summary: "Upload a `docker save` archive into the registry, streamed",
  description: BEGINS_ANEW,
  permission: "app:write",
  status: 201,
  query: object({ app: Id, source: Type.Optional(Type.String({ maxLength: 200, pattern: "^[\\x20-\\x7e]*$" })) }),
  upload: "application/x-tar",
  reply: Artifact,
});
export const getArtifact = endpoint({
  id: "getArtifact",
  method: "GET",
  path: "/v1/artifacts/:id",
  summary: "Show an artifact",
  permission: "app:read",
  params: IdParams,
  reply: Artifact,
});

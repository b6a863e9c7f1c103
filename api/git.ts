// An app's git repository, which lives with control: where it is pushed to, what its branch is at, and building that again.
import { type Static, Type } from "typebox";
import { Build } from "./builds.ts";
import { endpoint } from "./endpoint.ts";
import { AppParams, object } from "./schema.ts";

export const GitRepository = object({
  branches: Type.Array(Type.String(), { description: "Branches that a push deploys." }),
  head: Type.Optional(
    object({
      branch: Type.String(),
      commit: Type.String({ description: "What the branch is at; absent before the first push that was deployed." }),
    }),
  ),
  path: Type.String({ description: "Path of its URL: /git/APP.git below the API's over HTTPS, APP.git over SSH." }),
  ssh: Type.Optional(
    object({
      port: Type.Integer(),
      user: Type.String(),
      hostKeys: Type.Array(Type.String(), { description: "The server's own keys, as known_hosts has them." }),
    }),
  ),
});
export type GitRepository = Static<typeof GitRepository>;

export const getGit = endpoint({
  id: "getGit",
  method: "GET",
  path: "/v1/apps/:app/git",
  summary: "Show an app's git repository",
  permission: "app:read",
  params: AppParams,
  reply: GitRepository,
});
export const redeploy = endpoint({
  id: "redeploy",
  method: "POST",
  idempotent: true,
  path: "/v1/apps/:app/redeploy",
  location: "/v1/apps/:app/builds/{id}",
  bulk: true,
  summary: "Build and deploy again what the deploy branch is at",
  permission: "app:write",
  params: AppParams,
  body: object({}),
  reply: Build,
  status: 202,
});

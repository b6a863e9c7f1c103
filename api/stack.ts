// The stack: the builder image that apps are built in and the runner image that what was built is laid on.
import { type Static, Type } from "typebox";
import { BEGINS_ANEW, endpoint } from "./endpoint.ts";
import { object, oneOf, Time } from "./schema.ts";

export const StackPart = oneOf(
  ["builder", "runner"],
  "builder: buildpacks run in it. runner: their results are laid on it.",
);
export type StackPart = Static<typeof StackPart>;

const Digest = Type.String({ pattern: "^sha256:[0-9a-f]{64}$" });
const StackName = Type.String({
  pattern: "^[a-z][a-z0-9.-]{0,39}$",
  description: "What buildpacks see as STACK, such as flynn-12.",
});

export const StackImage = object({
  repository: Type.String({ description: "Repository in the built-in registry." }),
  digest: Digest,
});
export type StackImage = Static<typeof StackImage>;

export const Stack = object({
  name: StackName,
  builder: StackImage,
  runner: StackImage,
  createdAt: Time,
  superseded: Type.Array(object({ part: StackPart, digest: Digest, at: Time }), {
    description: "Images of earlier stacks, newest first; apps built on them run on.",
  }),
});
export type Stack = Static<typeof Stack>;

export const getStack = endpoint({
  id: "getStack",
  method: "GET",
  path: "/v1/stack",
  summary: "Show the stack that builds use",
  permission: "cluster:read",
  faults: ["not-found"],
  reply: Stack,
});
export const uploadStackImage = endpoint({
  id: "uploadStackImage",
  method: "POST",
  path: "/v1/stack/images",
  idempotent: true,
  summary: "Upload one image of a stack (a `docker save` archive), streamed; builds use it once setStack names it",
  description: BEGINS_ANEW,
  permission: "cluster:write",
  query: object({ part: StackPart }),
  upload: "application/x-tar",
  reply: StackImage,
  status: 201,
});
export const setStack = endpoint({
  id: "setStack",
  method: "PUT",
  path: "/v1/stack",
  summary: "Make two uploaded images the stack of builds from now on",
  permission: "cluster:write",
  body: object({ name: StackName, builder: Digest, runner: Digest }),
  reply: Stack,
});

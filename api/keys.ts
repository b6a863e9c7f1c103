// SSH keys that may push and fetch with git. A key does what `app:read` and `app:write` allow with every app's repository, and
// nothing else: no shell, no forwarding.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { Id, listOf, Nothing, object, oneOf, PageQuery, Time } from "./schema.ts";

export const SSH_KEY_TYPES = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "ssh-rsa",
  "sk-ssh-ed25519@openssh.com",
  "sk-ecdsa-sha2-nistp256@openssh.com",
] as const;

const KeyName = Type.String({
  pattern: "^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$",
  description: "1-64 of letters, digits and ._@-, begins with a letter or digit.",
});

export const SshKey = object({
  id: Id,
  name: KeyName,
  type: oneOf(SSH_KEY_TYPES),
  fingerprint: Type.String({ description: "SHA256:..., as `ssh-keygen -l` prints it." }),
  createdBy: Type.String(),
  createdAt: Time,
});
export type SshKey = Static<typeof SshKey>;

export const listKeys = endpoint({
  id: "listKeys",
  method: "GET",
  path: "/v1/keys",
  summary: "List SSH keys that may push",
  permission: "app:read",
  query: object(PageQuery),
  reply: listOf(SshKey),
});
const KeyParams = object({ id: KeyName });
export const getKey = endpoint({
  id: "getKey",
  method: "GET",
  path: "/v1/keys/:id",
  summary: "Show an SSH key, by id or name",
  permission: "app:read",
  params: KeyParams,
  reply: SshKey,
});
export const addKey = endpoint({
  id: "addKey",
  method: "POST",
  idempotent: true,
  path: "/v1/keys",
  location: "/v1/keys/{id}",
  summary: "Let an SSH key push to and fetch from every app's repository",
  permission: "app:write",
  body: object({
    publicKey: Type.String({ maxLength: 8_192, description: "One line of a .pub file: TYPE BASE64 [COMMENT]." }),
    name: Type.Optional(KeyName),
  }),
  reply: SshKey,
  status: 201,
});
export const removeKey = endpoint({
  id: "removeKey",
  method: "DELETE",
  path: "/v1/keys/:id",
  summary: "Remove an SSH key, by id or name; its next connection is refused",
  permission: "app:write",
  params: KeyParams,
  reply: Nothing,
});

// Membership: how hosts, routers and boot servers trade a single-use token for a certificate, and how they renew it.
import { type Static, Type } from "typebox";
import { DiskPolicy, Install, Secrets } from "./boot.ts";
import { GivenUp, WipeOrder } from "./disks.ts";
import { endpoint } from "./endpoint.ts";
import { HostFacts } from "./host-agents.ts";
import { Id, IdParams, Name, object, oneOf, Tags, Time } from "./schema.ts";
import { TpmQuote } from "./tpm.ts";

export const JoinRole = oneOf(["host", "router", "boot"]);
export type JoinRole = Static<typeof JoinRole>;

export const JoinRequest = object({
  token: Type.String({
    maxLength: 4096,
    description: "Single use: a join token (fjt_...) or a boot server's grant (fjg_...).",
  }),
  role: JoinRole,
  name: Type.String({ maxLength: 63 }),
  csr: Type.String({ maxLength: 8192, description: "PKCS #10, PEM; the key never leaves the joiner." }),
  facts: Type.Optional(HostFacts),
  addresses: Type.Optional(
    Type.Array(Type.String({ maxLength: 45 }), {
      maxItems: 16,
      description: "IP addresses the certificate is to be good for.",
    }),
  ),
  tpm: Type.Optional(TpmQuote),
  tags: Type.Optional(
    Type.Unsafe<Tags>({
      ...Tags,
      description: "A host's first tags, when no machine is known for it; later ones are set at control.",
    }),
  ),
});
export type JoinRequest = Static<typeof JoinRequest>;

export const JoinReply = object({
  id: Id,
  certificate: Type.String({ description: "PEM." }),
  caPem: Type.String(),
  expiresAt: Time,
  clusterRange: Type.String(),
  subnet: Type.Optional(Type.String()),
});
export type JoinReply = Static<typeof JoinReply>;

export const RenewReply = object({
  certificate: Type.String({ description: "PEM." }),
  expiresAt: Time,
  caPem: Type.String(),
});
export type RenewReply = Static<typeof RenewReply>;

/** /etc/flynn/hostd.json as the boot seed writes it: all a fresh host needs to become one. */
export const HostSeed = object({
  controlUrls: Type.Array(Type.String(), { minItems: 1 }),
  caPem: Type.String(),
  joinToken: Type.String(),
  machineId: Type.Optional(Id),
  bootId: Type.Optional(Id),
  hostname: Name,
  tags: Tags,
  diskPolicy: DiskPolicy,
  wipeOrder: Type.Optional(WipeOrder),
  givenUp: Type.Optional(GivenUp),
  install: Type.Optional(Install),
  secrets: Type.Optional(Secrets),
  requireTpm: Type.Optional(Type.Boolean({ description: "The join is asked for a quote of the machine's TPM." })),
});
export type HostSeed = Static<typeof HostSeed>;

export const joinCluster = endpoint({
  id: "joinCluster",
  method: "POST",
  path: "/v1/hosts/join",
  summary: "Trade a single-use token and a CSR for a certificate",
  permission: "join",
  body: JoinRequest,
  reply: JoinReply,
  status: 201,
});
export const renewMember = endpoint({
  id: "renewMember",
  method: "POST",
  path: "/v1/members/:id/renew",
  summary: "A new certificate for a member's next key; the present one is good until the new one is first used",
  permission: "member",
  params: IdParams,
  body: object({ csr: JoinRequest.properties.csr }),
  reply: RenewReply,
});
export const createJoinToken = endpoint({
  id: "createJoinToken",
  method: "POST",
  idempotent: true,
  path: "/v1/join-tokens",
  summary: "Make a single-use join token",
  permission: "cluster:write",
  status: 201,
  body: object({
    role: JoinRole,
    ttlMs: Type.Optional(Type.Integer({ minimum: 1_000, maximum: 7 * 86_400_000, default: 3_600_000 })),
  }),
  reply: object({ token: Type.String(), expiresAt: Time }),
});

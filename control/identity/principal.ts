// Who calls, and may they. Tokens are known by their sha256 only; members by the certificate whose key the store names.
import { createHash, type X509Certificate } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import type { Permission } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";
import type { JoinRole } from "#api/members.ts";
import { keys } from "../keys.ts";
import type { HostRecord, MemberRecord, TokenRecord } from "../records.ts";
import type { Store } from "../store/store.ts";
import { keyDigest, SKEW_MS } from "./authority.ts";
import { useNextKey } from "./next-key.ts";
import { recoverKey } from "./recovered-key.ts";

/** ISO times. */
export interface Life {
  notBefore: string;
  notAfter: string;
}

export type Principal =
  | { kind: "anonymous"; name: "anonymous"; id: "" }
  | { kind: "token"; name: string; id: string; permissions: readonly string[]; sha256: string }
  | { kind: "member"; name: string; role: JoinRole; id: string; keySha256: string; certificate: Life };

const ROLE_OF: Partial<Record<Permission, JoinRole>> = { agent: "host", router: "router", boot: "boot" };

export const MEMBER_KEY: Record<JoinRole, (id: string) => string> = {
  host: keys.host,
  router: keys.router,
  boot: keys.bootServer,
};

export const sha256Hex = (text: string): string => createHash("sha256").update(text).digest("hex");

/** The caller of a request. A token or certificate that is shown but not good is `unauthenticated`, never anonymous. */
export function identify(raw: IncomingMessage, store: Store): Principal {
  const header = raw.headers.authorization;
  if (header !== undefined) {
    return tokenPrincipal(/^Bearer (.+)$/.exec(header)?.[1] ?? "", store);
  }
  const certificate = clientCertificate(raw.socket as TLSSocket);
  if (certificate === undefined) return { kind: "anonymous", name: "anonymous", id: "" };
  return member(certificate, store, raw.socket as TLSSocket);
}

/** Whose token that is; Fault `unauthenticated` for any other text. */
export function tokenPrincipal(secret: string, store: Store): Principal {
  const sound = /^[A-Za-z0-9_.-]{8,512}$/.test(secret);
  return tokenHolder(sound ? sha256Hex(secret) : "", store);
}

/** The same by its digest, for what lasts longer than the request that showed it. */
export function tokenHolder(sha256: string, store: Store): Principal {
  const token = store.get<TokenRecord>(keys.token(sha256))?.value;
  if (token === undefined)
    throw new Fault(
      "unauthenticated",
      "the token is not known; on the appliance's own machine `flynn cluster token` makes a new one",
    );
  if (token.expiresAt !== undefined && Date.parse(token.expiresAt) <= Date.now())
    throw new Fault(
      "unauthenticated",
      `token ${token.name} expired at ${token.expiresAt}; who may makes a new one: flynn token create`,
    );
  return { kind: "token", name: token.name, id: token.id, permissions: token.permissions, sha256 };
}

/** Throws `unauthenticated` or `forbidden` unless the caller has the endpoint's permission (and, for members, its own id). */
export function authorize(
  principal: Principal,
  endpoint: { method: string; path: string; permission: Permission },
  params: Record<string, string>,
): void {
  const { permission } = endpoint;
  if (permission === "public" || permission === "join") return;
  if (principal.kind === "anonymous")
    throw new Fault("unauthenticated", `${endpoint.method} ${endpoint.path} needs a token`);
  if (permission === "member") {
    if (principal.kind !== "member" || principal.id !== params["id"])
      throw new Fault("forbidden", `${endpoint.path} is for member ${told(params["id"])}`.trim());
    return;
  }
  const role = ROLE_OF[permission];
  if (role !== undefined) {
    const own =
      principal.kind === "member" &&
      principal.role === role &&
      (params["id"] === undefined || params["id"] === principal.id);
    if (!own) throw new Fault("forbidden", `${endpoint.path} is for ${role} ${told(params["id"])}`.trim());
    return;
  }
  const granted =
    principal.kind === "token" && (principal.permissions.includes("*") || principal.permissions.includes(permission));
  if (!granted) throw new Fault("forbidden", `${principal.name} has no permission ${permission}`);
}

/** An id as far as it is one: paths are not checked yet when rights are. */
const told = (id: string | undefined): string => (id !== undefined && /^[A-Za-z0-9._-]{1,64}$/.test(id) ? id : "");

interface Known {
  role: string;
  id: string;
  keySha256: string;
  expiresAt: Date;
  life: Life;
}
const knownBySocket = new WeakMap<TLSSocket, Known>();

function clientCertificate(socket: TLSSocket): Known | undefined {
  const kept = knownBySocket.get(socket);
  if (kept) return kept;
  const certificate: X509Certificate | undefined = socket.getPeerX509Certificate?.();
  if (certificate === undefined) return undefined;
  const problem = socket.authorized ? undefined : String(socket.authorizationError);
  if (problem !== undefined && problem !== "CERT_HAS_EXPIRED")
    throw new Fault("unauthenticated", `the client's certificate is not of this cluster: ${problem}`);
  const subject = new Map(certificate.subject.split("\n").map((part) => part.split("=", 2) as [string, string]));
  const known = {
    role: (subject.get("O") ?? "").replace(/^flynn:/, ""),
    id: subject.get("CN") ?? "",
    keySha256: keyDigest(certificate),
    expiresAt: certificate.validToDate,
    life: { notBefore: certificate.validFromDate.toISOString(), notAfter: certificate.validToDate.toISOString() },
  };
  knownBySocket.set(socket, known);
  return known;
}

/** SPKI PEM; looked up when it is needed, since certificates are not kept for each connection. */
const publicKeyOf = (socket: TLSSocket): string =>
  socket.getPeerX509Certificate()!.publicKey.export({ type: "spki", format: "pem" }).toString();

/** The key must be the one the store names now: a removed member and an older boot's certificate are refused. */
function member({ role, id, keySha256, expiresAt, life }: Known, store: Store, socket: TLSSocket): Principal {
  // Looked at here too: a connection may be older than that.
  if (expiresAt.getTime() <= Date.now())
    throw new Fault(
      "unauthenticated",
      `the certificate of ${role} ${id} expired at ${expiresAt.toISOString()}; it can join again with a new join token`,
    );
  const key = MEMBER_KEY[role as JoinRole]?.(id);
  const entry = key === undefined ? undefined : store.get<HostRecord | MemberRecord>(key);
  const isNext = entry?.value.next?.keySha256 === keySha256;
  const isGood = entry?.value.keySha256 === keySha256 || isNext;
  const issuedMs = Date.parse(life.notBefore) + SKEW_MS;
  const shown = () => ({ keySha256, publicKeyPem: publicKeyOf(socket), issuedMs });
  if (entry === undefined || !(isGood || recoverKey(store, entry, shown())))
    throw new Fault("unauthenticated", `the certificate of ${role} ${id} is not good any more; join again`);
  if (isNext) useNextKey(store, entry, issuedMs);
  return {
    kind: "member",
    name: `${role} ${entry.value.name}`,
    role: role as JoinRole,
    id,
    keySha256,
    certificate: life,
  };
}

// One typed value per endpoint is the only definition: the server validates, serialises and authorises by it, the client
// derives its call from it, OpenAPI is printed from it.
import type { Static, TSchema } from "typebox";
import type { FaultCode } from "./fault.ts";
import { Nothing } from "./schema.ts";

/**
 * Who may call. `public`: anyone. `join`: anyone who holds a join token in the body. `agent`, `router`, `boot`: the
 * client certificate of that role, and where the path has `:id`, only for its own id. `member`: the same for a certificate
 * of any of these roles. The rest are scopes of tokens.
 */
export const PERMISSIONS = [
  "public",
  "join",
  "agent",
  "router",
  "boot",
  "member",
  "cluster:read",
  "cluster:write",
  "machine:read",
  "machine:write",
  "app:read",
  "app:write",
] as const;
export type Permission = (typeof PERMISSIONS)[number];

export interface Endpoint<
  P extends TSchema = TSchema,
  Q extends TSchema = TSchema,
  B extends TSchema = TSchema,
  R extends TSchema = TSchema,
  I extends TSchema = TSchema,
> {
  /** Unique verb-noun name; the OpenAPI operationId. */
  id: string;
  method: "GET" | "POST" | "PATCH" | "PUT" | "DELETE";
  /** `/v1/hosts/:id`. */
  path: string;
  summary: string;
  /** More than a line, for the documents. */
  description?: string;
  permission: Permission;
  /** Its reply comes with the ETag of what it shows. */
  versioned?: boolean;
  /** Codes it may answer beside those that follow from the rest of this value (openapi/faults.ts); for the documents. */
  faults?: readonly FaultCode[];
  /** Takes If-Match: the change is made only to the version of that ETag. Elsewhere an If-Match is refused. */
  conditional?: boolean;
  /** POST that takes an Idempotency-Key: it makes or does something, and once only for one key. Elsewhere one is refused. */
  idempotent?: boolean;
  params: P;
  query: Q;
  /** Absent on endpoints without a body. */
  body?: B;
  /** Body is this media type, handed to the handler as a stream and never held in memory. */
  upload?: string;
  /** May fill control's disk though its own body is small: its handler asks `Call.filling`. An `upload` always does. */
  bulk?: boolean;
  /** The reply's body is a stream of this media type, and nothing else. */
  download?: string;
  /** Where what was made can be read, sent as `Location`: `:x` is this path's, `{x}` the reply's. */
  location?: string;
  /** GET that becomes a WebSocket; `reply` is then nothing. */
  socket?: boolean;
  reply: R;
  status: number;
  /** Item of the SSE stream served when the client accepts `text/event-stream`. */
  item?: I;
}

/** Of every upload of people. */
export const BEGINS_ANEW =
  "The archive is one request, as a stream. It is not resumed: one that breaks off has changed nothing and is sent again from its beginning. With an Idempotency-Key, one that had arrived whole is not made a second time.";

interface Definition<P extends TSchema, Q extends TSchema, B extends TSchema, R extends TSchema, I extends TSchema> {
  id: string;
  method: Endpoint["method"];
  path: string;
  summary: string;
  description?: string;
  permission: Permission;
  versioned?: boolean;
  faults?: readonly FaultCode[];
  conditional?: boolean;
  idempotent?: boolean;
  params?: P;
  query?: Q;
  body?: B;
  upload?: string;
  bulk?: boolean;
  download?: string;
  location?: string;
  socket?: boolean;
  reply: R;
  status?: number;
  item?: I;
}

export function endpoint<
  R extends TSchema,
  P extends TSchema = typeof Nothing,
  Q extends TSchema = typeof Nothing,
  B extends TSchema = never,
  I extends TSchema = never,
>(definition: Definition<P, Q, B, R, I>): Endpoint<P, Q, B, R, I> {
  const { params = Nothing as unknown as P, query = Nothing as unknown as Q, status = 200, ...rest } = definition;
  return { ...rest, params, query, status };
}

export type Params<E extends Endpoint> = Static<E["params"]>;
export type Query<E extends Endpoint> = Static<E["query"]>;
export type Body<E extends Endpoint> =
  E extends Endpoint<TSchema, TSchema, infer B, TSchema, TSchema>
    ? [B] extends [never]
      ? undefined
      : Static<B>
    : never;
export type Reply<E extends Endpoint> = Static<E["reply"]>;
export type Item<E extends Endpoint> =
  E extends Endpoint<TSchema, TSchema, TSchema, TSchema, infer I> ? ([I] extends [never] ? never : Static<I>) : never;

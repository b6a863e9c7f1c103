// What the documents say beside what the endpoints say of themselves.
import type { Noun } from "../endpoints.ts";

export const TAGS: Record<Noun, string> = {
  status: "How the whole stands, what happened, and this API's own description.",
  apps: "Apps with their releases, environment and formation.",
  deployments: "Replacing one release by another, on the server: a client that goes away changes nothing.",
  jobs: "One run of one process of one release on one host.",
  services: "The registry of what listens, and the one call that makes a service from an image.",
  "external-services": "What runs outside of the cluster, in the registry beside its own services.",
  routes: "Domains and ports that lead to apps, and the routers that serve them.",
  certificates: "Certificates that people bring for their domains.",
  pages: "What visitors see in an app's place.",
  network: "Which apps reach which others.",
  builds: "Source into an image, its release and its deployment.",
  stack: "The images that apps are built in and laid on.",
  artifacts: "Images in the built-in registry.",
  git: "An app's repository, which lives with control.",
  keys: "SSH keys that may push.",
  attach: "Sessions with a running job: its terminal, a command beside it, one of its ports.",
  logs: "Log lines of jobs, merged in time order.",
  drains: "Where log lines are sent as they come.",
  hosts: "Machines that run jobs.",
  members: "How hosts, routers and boot servers become members.",
  machines: "Metal as the boot server sees it, before and while it is a host.",
  "machine-orders": "What machines were ordered to do: how far it is, and how it ended.",
  power: "How machines are switched: BMCs, orders, serial consoles.",
  disks: "A machine's disks, and the one order by which a person gives one up.",
  inventory: "What machines are made of, as they say.",
  boot: "Boot images and profiles.",
  quarantine: "What hosts run and a restored state does not know.",
  alerts: "Conditions that somebody should act on.",
  tokens: "Access tokens.",
};

const COMMON = `Times are ISO 8601 in UTC. An id or a name is taken wherever an id is. \`PATCH\` changes what is named, and null removes.

Every refusal is a Fault: \`code\` is for programs, \`message\` for people. \`X-Request-Id\` may be sent (8-64 of letters, digits and ._-) and comes back.

Replies may have fields and values of sets that are newer than this document; clients pass over what they do not know. Requests are closed: a field that is not known is refused, not passed over.

Streams (\`Accept: text/event-stream\`) send \`id:\` as the place to go on from (\`Last-Event-ID\`), an event \`current\` at the end of the past, a comment every 15 s, and an event \`fault\` when they end for a reason.`;

export const INTRODUCTIONS: Record<"people" | "agents", string> = {
  people: `The whole of the cluster: machines, hosts, apps, routes, and what happened to them. Show a token as \`Authorization: Bearer TOKEN\`.

${COMMON}

Lists come in pages: \`limit\` items (100 unless said), and \`nextCursor\` is the \`cursor\` of the next page; it is absent on the last.

\`HEAD\` is taken wherever \`GET\` is. A path that does not take a method answers 405 with \`Allow\`. An object's GET has an \`ETag\`: \`If-None-Match\` is answered 304 while nothing of it has changed, \`If-Match\` keeps a change from being made to another version. An \`Idempotency-Key\` is kept for 24 h; where it would count for nothing it is refused.

An upload is one request, as a stream, and is not resumed: one that breaks off has changed nothing and begins anew. With an \`Idempotency-Key\`, one that had arrived whole is not made a second time.`,
  agents: `What the cluster's own programs (hosts, routers, boot servers) ask of control, each for itself by its certificate. It is no interface for others, and changes with each version: \`flynn-hello\` says who can speak with whom.

${COMMON}`,
};

const text = (description: string, more: object = {}) => ({ description, schema: { type: "string", ...more } });

export const HEADERS = {
  "X-Request-Id": text("Names this request in control's log."),
  ETag: text("Version of what is shown, for If-Match and If-None-Match."),
  Location: text("Path of what was made.", { format: "uri-reference" }),
  "Retry-After": { description: "Seconds.", schema: { type: "integer", format: "int32", minimum: 1 } },
  Allow: text("Methods that the path takes."),
} as const;

const parameter = (name: string, description: string, more: object = {}) => ({
  name,
  in: "header",
  required: false,
  description,
  schema: { type: "string", ...more },
});

export const PARAMETERS = {
  IfMatch: parameter(
    "If-Match",
    "An ETag; when the object has another version by now, the answer is `precondition` and nothing changes.",
  ),
  IdempotencyKey: parameter(
    "Idempotency-Key",
    "For 24 h the same request with the same key gives the first outcome and makes nothing more; another request with that key is a `conflict`.",
    { pattern: "^[\\x21-\\x7e]{1,255}$" },
  ),
  IfNoneMatch: parameter("If-None-Match", "ETags that the caller has; the answer is 304 when it is one of them."),
  LastEventId: parameter("Last-Event-ID", "Of a stream: the `id` of the last event that was had."),
} as const;

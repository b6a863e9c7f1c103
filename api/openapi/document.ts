// OpenAPI 3.1 printed from the endpoint values: one document for people and their programs, one for the cluster's own agents.
import * as controlUrls from "../control-urls.ts";
import type { Endpoint } from "../endpoint.ts";
import { endpointsOf, NOUNS, type Noun } from "../endpoints.ts";
import { FAULTS } from "../fault.ts";
import * as machineIdentity from "../machine-identity.ts";
import * as reach from "../reach.ts";
import * as schema from "../schema.ts";
import * as version from "../version.ts";
import { type Examples, examplesOf } from "./examples.ts";
import { faultResponses, faultsOf } from "./faults.ts";
import { namesOf, type Schema, type Shapes, shapesOf, usesOf } from "./shapes.ts";
import { HEADERS, INTRODUCTIONS, PARAMETERS, TAGS } from "./words.ts";

export type Audience = "people" | "agents";

const isFor = (audience: Audience, { permission }: Endpoint): boolean =>
  (permission.includes(":") || permission === "public") === (audience === "people");

export function openapi(audience: Audience = "people"): Record<string, unknown> {
  const nouns = (Object.keys(NOUNS) as Noun[]).map((noun) => ({
    noun,
    endpoints: endpointsOf(noun).filter((endpoint) => isFor(audience, endpoint)),
  }));
  const endpoints = nouns.flatMap((each) => each.endpoints);
  const names = namesOf([schema, version, controlUrls, machineIdentity, reach, ...Object.values(NOUNS)]);
  for (const endpoint of endpoints) nameParts(endpoint, names);
  const shapes = shapesOf(names, usesOf(endpoints));
  const examples = examplesOf(shapes);
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { noun, endpoints } of nouns)
    for (const endpoint of endpoints) {
      const path = endpoint.path.replace(/:([a-zA-Z]+)/g, "{$1}");
      const printed = operation(endpoint, noun, { shapes, examples });
      paths[path] = { ...paths[path], [endpoint.method.toLowerCase()]: printed };
    }
  const used = new Set(endpoints.flatMap(faultsOf).map((code) => FAULTS[code].status as number));
  const responses = Object.fromEntries(
    Object.entries(faultResponses())
      .filter(([, { status }]) => used.has(status))
      .map(([name, { status, codes }]) => [name, faultResponse(status, codes)]),
  );
  return {
    openapi: "3.1.0",
    info: {
      title: audience === "people" ? "Flynn" : "Flynn, for its own agents",
      version: "1",
      license: { name: "BSD-3-Clause", identifier: "BSD-3-Clause" },
      description: INTRODUCTIONS[audience],
    },
    servers: [
      {
        url: "https://{host}:{port}",
        description: "The appliance; `ca.pem` of the cluster is what its certificate is checked against.",
        variables: { host: { default: "control.flynn.internal" }, port: { default: "7777" } },
      },
    ],
    security: [{ [audience === "people" ? "token" : "certificate"]: [] }],
    tags: nouns
      .filter((each) => each.endpoints.length > 0)
      .map(({ noun }) => ({ name: noun, description: TAGS[noun] })),
    paths,
    components: {
      securitySchemes:
        audience === "people"
          ? { token: { type: "http", scheme: "bearer", description: "`flynn token create` makes one." } }
          : { certificate: { type: "mutualTLS", description: "The member's own, signed by the cluster CA." } },
      parameters: onlyUsed(PARAMETERS, paths),
      headers: onlyUsed(HEADERS, { paths, responses }),
      responses,
      schemas: { Fault: FAULT, ...shapes.components() },
    },
  };
}

const onlyUsed = (parts: object, by: object): object =>
  Object.fromEntries(Object.entries(parts).filter(([name]) => JSON.stringify(by).includes(`/${name}"`)));

/** The text of a document as it is kept beside this folder and served. */
export const openapiText = (audience: Audience): string => `${JSON.stringify(openapi(audience), null, 1)}\n`;

const pascal = (id: string): string => id[0]!.toUpperCase() + id.slice(1);

/** Bodies and replies that are nobody's shape are named by their endpoint, lists by what they hold. */
function nameParts({ id, body, reply, item, status }: Endpoint, names: ReturnType<typeof namesOf>): void {
  const { properties, items } = reply as Schema;
  const listed = properties?.["items"]?.items && names.of(properties["items"].items);
  const isList =
    listed !== undefined && Object.keys(properties!).every((name) => ["items", "nextCursor"].includes(name));
  if (items === undefined && names.of(reply as Schema) === undefined && status !== 101)
    nameOne(reply as Schema, isList ? `${listed}List` : `${pascal(id)}Reply`, names);
  if (body) nameOne(body as Schema, `${pascal(id)}Request`, names);
  if (item) nameOne(item as Schema, `${pascal(id)}Item`, names);
}

function nameOne(of: Schema, name: string, names: ReturnType<typeof namesOf>): void {
  if ((of.type !== undefined || of.anyOf !== undefined) && names.of(of) === undefined) names.ask(of, name);
}

interface Printer {
  shapes: Shapes;
  examples: Examples;
}

function operation(endpoint: Endpoint, noun: Noun, { shapes, examples }: Printer): Record<string, unknown> {
  const { id, method, summary, permission, body, upload, conditional, idempotent, versioned, item } = endpoint;
  const refer = (name: keyof typeof PARAMETERS) => ({ $ref: `#/components/parameters/${name}` });
  const isRead = method === "GET";
  const parameters = [
    ...(["path", "query"] as const).flatMap((place) => parametersOf(endpoint, place, { shapes, examples })),
    ...(conditional ? [refer("IfMatch")] : []),
    ...(idempotent ? [refer("IdempotencyKey")] : []),
    ...(isRead && versioned ? [refer("IfNoneMatch")] : []),
    ...(item ? [refer("LastEventId")] : []),
  ];
  const isFilled =
    body !== undefined &&
    Object.keys((body as Schema).properties ?? (body as Schema).patternProperties ?? {}).length > 0;
  const content = upload
    ? { [upload]: { schema: { type: "string", format: "binary" } } }
    : isFilled
      ? { "application/json": { schema: shapes.written(body as Schema, "request"), example: examples.body(endpoint) } }
      : undefined;
  const isNeeded = upload !== undefined || ((body as Schema | undefined)?.required ?? []).length > 0;
  return {
    operationId: id,
    tags: [noun],
    summary,
    ...(endpoint.description === undefined ? {} : { description: endpoint.description }),
    ...(permission === "public" || permission === "join" ? { security: [] } : {}),
    "x-permission": permission,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(content ? { requestBody: { required: isNeeded, content } } : {}),
    responses: { ...answers(endpoint, { shapes, examples }), ...refusals(endpoint) },
  };
}

function answers(endpoint: Endpoint, { shapes, examples }: Printer): Record<string, unknown> {
  const { status, reply, item, socket, download, location, versioned, method } = endpoint;
  const header = (name: keyof typeof HEADERS) => ({ [name]: { $ref: `#/components/headers/${name}` } });
  const headers = {
    ...header("X-Request-Id"),
    ...(versioned ? header("ETag") : {}),
    ...(location === undefined ? {} : header("Location")),
  };
  if (socket) return { 101: { description: "A WebSocket of binary frames.", headers: header("X-Request-Id") } };
  if (download !== undefined)
    return {
      200: {
        description: "A stream.",
        headers,
        content: { [download]: { schema: { type: "string", format: "binary" } } },
      },
    };
  const shown = (schema: Schema) => ({ schema: shapes.written(schema, "reply"), example: examples.of(schema) });
  const content = {
    "application/json": shown(reply as Schema),
    ...(item ? { "text/event-stream": shown(item as Schema) } : {}),
  };
  const what = item
    ? `${DESCRIPTIONS[status]} As text/event-stream the schema is that of each event's data.`
    : DESCRIPTIONS[status];
  return {
    [status]: { description: what, headers, content },
    ...(method === "GET" && versioned ? { 304: { description: "Who asks has it as it is.", headers } } : {}),
  };
}

const DESCRIPTIONS: Record<number, string> = {
  200: "Done.",
  201: "Made.",
  202: "Taken on; what follows is seen in the object.",
};

/** By status, the named answer; which of its codes this endpoint can give is said beside it. */
function refusals(endpoint: Endpoint): Record<string, unknown> {
  const codes = faultsOf(endpoint);
  const named = Object.entries(faultResponses()).filter(([, { codes: of }]) => of.some((code) => codes.includes(code)));
  return Object.fromEntries(named.map(([name, { status }]) => [status, { $ref: `#/components/responses/${name}` }]));
}

function faultResponse(status: number, codes: readonly (keyof typeof FAULTS)[]): object {
  const refer = (name: keyof typeof HEADERS) => ({ [name]: { $ref: `#/components/headers/${name}` } });
  const [code] = codes as [keyof typeof FAULTS];
  const example = { code, message: FAULT_WORDS[code], requestId: REQUEST_ID, retry: FAULTS[code].retry };
  return {
    description: `${codes.map((each) => `\`${each}\`: ${FAULT_WORDS[each]}`).join("\n")}`,
    headers: {
      ...refer("X-Request-Id"),
      ...([429, 503].includes(status) ? refer("Retry-After") : {}),
      ...(status === 405 ? refer("Allow") : {}),
    },
    content: { "application/json": { schema: { $ref: "#/components/schemas/Fault" }, example } },
  };
}

function parametersOf(endpoint: Endpoint, place: "path" | "query", { shapes, examples }: Printer): unknown[] {
  const { properties = {}, required = [] } = (place === "path" ? endpoint.params : endpoint.query) as Schema;
  return Object.entries(properties).map(([name, of]) => {
    const example = examples.parameter(endpoint, name, of);
    return {
      name,
      in: place,
      required: place === "path" || required.includes(name),
      ...(of.description === undefined ? {} : { description: of.description }),
      schema: shapes.written(of, "request"),
      ...(example === undefined ? {} : { example }),
    };
  });
}

const REQUEST_ID = "8f14e45f-ceea-467f-ab4e-3a1d2c0b9d10";
const FAULT_WORDS: Record<keyof typeof FAULTS, string> = {
  invalid: "the request is not as this endpoint takes it",
  unauthenticated: "no token or certificate, or one that is not good any more",
  forbidden: "the token or certificate does not allow this",
  "not-found": "there is no such object",
  "method-not-allowed": "the path takes other methods",
  incompatible: "the caller's version and control's do not understand each other",
  conflict: "the state of things, or another request with this Idempotency-Key, is against it",
  precondition: "the object has another version by now than If-Match names",
  gone: "it was there, and is not kept any more",
  "too-large": "more than this endpoint takes",
  "rate-limited": "too many at once; later",
  "no-capacity": "no room left on a disk or a host",
  unavailable: "control, or a part that is needed, cannot answer now",
  timeout: "a part that is needed did not answer in time",
  internal: "control's own failure; the request id finds it in its log",
};

const FAULT: object = {
  type: "object",
  description: "What every refusal and failure answers.",
  required: ["code", "message", "requestId", "retry"],
  properties: {
    code: { type: "string", description: `One of ${Object.keys(FAULTS).join(", ")}; a newer control may know more.` },
    message: { type: "string", description: "What was being done and why not, in plain words." },
    details: { type: "object", description: "Facts for programs, such as the field that was wrong." },
    requestId: { type: "string" },
    retry: { type: "boolean", description: "The same request may succeed later." },
  },
};

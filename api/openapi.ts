// OpenAPI 3.1 printed from the endpoint values. `node api/openapi.ts` rewrites api/openapi.json; a test fails when it is stale.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Endpoint } from "./endpoint.ts";
import { controlEndpoints } from "./endpoints.ts";
import { FAULTS } from "./fault.ts";

interface ObjectSchema {
  properties?: Record<string, unknown>;
  required?: string[];
}

export function openapi(endpoints: Endpoint[] = controlEndpoints()): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const endpoint of endpoints) {
    const path = endpoint.path.replace(/:([a-zA-Z]+)/g, "{$1}");
    paths[path] = { ...paths[path], [endpoint.method.toLowerCase()]: operation(endpoint) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Flynn",
      version: "1",
      description:
        "Errors are {code, message, details?, requestId, retry}. Streams are SSE: `id:` is a sequence number, an event `current` marks the end of the past.",
    },
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" }, certificate: { type: "mutualTLS" } },
      schemas: { Fault: faultSchema() },
    },
  };
}

const IF_MATCH = {
  name: "if-match",
  in: "header",
  required: false,
  description: "An ETag; when the object has another version by now, the answer is `precondition` and nothing changes.",
  schema: { type: "string" },
};
const IDEMPOTENCY_KEY = {
  name: "idempotency-key",
  in: "header",
  required: false,
  description:
    "For 24 h the same request with the same key gives the first outcome and makes nothing more; another request with that key is a `conflict`.",
  schema: { type: "string", pattern: "^[\\x21-\\x7e]{1,255}$" },
};

function operation(endpoint: Endpoint): Record<string, unknown> {
  const parameters = [
    ...parametersOf(endpoint.params as ObjectSchema, "path"),
    ...parametersOf(endpoint.query as ObjectSchema, "query"),
    ...(endpoint.conditional ? [IF_MATCH] : []),
    ...(endpoint.idempotent ? [IDEMPOTENCY_KEY] : []),
  ];
  const content: Record<string, unknown> = { "application/json": { schema: endpoint.reply } };
  if (endpoint.item) content["text/event-stream"] = { schema: endpoint.item };
  const body = endpoint.upload
    ? { [endpoint.upload]: { schema: { type: "string", format: "binary" } } }
    : endpoint.body
      ? { "application/json": { schema: endpoint.body } }
      : undefined;
  return {
    operationId: endpoint.id,
    summary: endpoint.summary,
    ...(endpoint.permission === "public" ? { security: [] } : {}),
    "x-permission": endpoint.permission,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body ? { requestBody: { required: true, content: body } } : {}),
    responses: {
      ...(endpoint.socket
        ? { 101: { description: "A WebSocket of binary frames" } }
        : { [endpoint.status]: { description: "Done", content } }),
      default: {
        description: "Refused or failed",
        content: { "application/json": { schema: { $ref: "#/components/schemas/Fault" } } },
      },
    },
  };
}

function parametersOf(schema: ObjectSchema, place: "path" | "query"): unknown[] {
  return Object.entries(schema.properties ?? {}).map(([name, field]) => ({
    name,
    in: place,
    required: place === "path" || (schema.required ?? []).includes(name),
    schema: field,
  }));
}

function faultSchema(): Record<string, unknown> {
  return {
    type: "object",
    required: ["code", "message", "requestId", "retry"],
    properties: {
      code: { type: "string", enum: Object.keys(FAULTS) },
      message: { type: "string" },
      details: { type: "object" },
      requestId: { type: "string" },
      retry: { type: "boolean" },
    },
  };
}

/** The text of api/openapi.json. */
export function openapiText(): string {
  return `${JSON.stringify(openapi(), null, 1)}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync(new URL("./openapi.json", import.meta.url), openapiText());

// The documents of the API: what a generator or a reader of OpenAPI counts on. That they are linted: openapi-lint.test.ts.
import { Ajv2020 } from "ajv/dist/2020.js";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { PERMISSIONS } from "#api/endpoint.ts";
import { controlEndpoints } from "#api/endpoints.ts";
import { type Audience, openapi } from "#api/openapi/document.ts";

interface Media {
  schema: object;
  example?: unknown;
}
interface Response {
  headers?: object;
  content?: Record<string, Media>;
}
interface Operation {
  operationId: string;
  tags: string[];
  parameters?: { $ref?: string; in?: string; name?: string; schema: object; example?: unknown }[];
  requestBody?: { content: Record<string, Media> };
  responses: Record<string, Response & { $ref?: string }>;
  "x-permission": string;
}
interface Document {
  tags: { name: string; description: string }[];
  servers: unknown[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object>; responses: Record<string, Response> };
}
const AUDIENCES: Audience[] = ["people", "agents"];
const documents = AUDIENCES.map((audience) => openapi(audience) as unknown as Document);
const operationsOf = ({ paths }: Document): [string, Operation][] =>
  Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): [string, Operation] => [`${method} ${path}`, operation]),
  );
/** Every schema of the document with where it stands. */
function* schemasIn(value: unknown, at = ""): Generator<[string, Record<string, unknown>]> {
  if (typeof value !== "object" || value === null) return;
  if (!Array.isArray(value)) yield [at, value as Record<string, unknown>];
  for (const [name, part] of Object.entries(value)) if (name !== "example") yield* schemasIn(part, `${at}/${name}`);
}

test("every endpoint is in one document: people's, or that of the cluster's own programs", () => {
  const printed = documents.flatMap(operationsOf).map(([, { operationId }]) => operationId);
  assert.equal(
    printed.sort(),
    controlEndpoints()
      .map(({ id }) => id)
      .sort(),
  );
  const [people, agents] = documents.map((each) => new Set(operationsOf(each).map(([, one]) => one["x-permission"])));
  assert.equal([...people!, ...agents!].sort(), [...PERMISSIONS].sort());
  assert.equal([...agents!].sort(), ["agent", "boot", "join", "member", "router"]);
});

test("no shape is written twice: what has fields or a set of values has a name", () => {
  for (const document of documents) {
    const seen = new Map<string, string[]>();
    for (const [at, schema] of schemasIn(document)) {
      const isNamed = /^\/components\/schemas\/[^/]+$/.test(at);
      const isShape = schema["properties"] !== undefined || (schema["enum"] !== undefined && !at.endsWith("/not"));
      if (isNamed || !isShape) continue;
      const { description: _, default: __, example: ___, ...rest } = schema;
      const key = JSON.stringify(rest);
      seen.set(key, [...(seen.get(key) ?? []), at]);
    }
    assert.equal(
      [...seen.values()].filter((places) => places.length > 1),
      [],
      "export each from its file in api/, under the name it is to have",
    );
  }
});

test("patterns are what every engine of regular expressions has, and numbers say how large they get", () => {
  for (const document of documents)
    for (const [at, { type, format, pattern }] of schemasIn(document)) {
      if (typeof pattern === "string") assert.not.match(pattern, /\(\?[=!<]/, at);
      if (type === "integer") assert.match(String(format), /^int(32|64)$/, at);
    }
});

test("each time of the contract is a date-time", () => {
  for (const document of documents)
    for (const [at, { type, format }] of schemasIn(document))
      if (
        type === "string" &&
        /\/(at|[a-z]+At|since|until|drainingSince)$/.test(at) &&
        !/HostReport|Event\/|\/at$/.test(at)
      )
        assert.is(format, "date-time", at);
});

test("requests are closed, replies are open", () => {
  for (const document of documents)
    for (const [name, schema] of Object.entries(document.components.schemas)) {
      const isSent = /(Request|Input)$/.test(name);
      const closed = [...schemasIn(schema)].some(([, { additionalProperties }]) => additionalProperties === false);
      if (isSent && "properties" in schema) assert.ok(closed, `${name} takes unknown fields`);
    }
  const replies = documents.flatMap((document) =>
    operationsOf(document).flatMap(([where, { responses }]) =>
      Object.values(responses).flatMap(({ content = {} }) =>
        Object.values(content).map(({ schema }) => ({ where, document, schema })),
      ),
    ),
  );
  for (const { where, document, schema } of replies) {
    const reached = new Set<string>();
    const walk = (part: unknown): void => {
      for (const [at, { additionalProperties, $ref }] of schemasIn(part)) {
        assert.is.not(additionalProperties, false, `${where} ${at}`);
        const name = typeof $ref === "string" ? $ref.split("/").at(-1)! : undefined;
        if (name === undefined || reached.has(name)) continue;
        reached.add(name);
        walk(document.components.schemas[name]);
      }
    };
    walk(schema);
  }
});

test("every body, reply and parameter has an example that its schema takes, also with fields of a newer control in it", () => {
  for (const document of documents) {
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema(document as object, "document");
    const check = (where: string, { schema, example }: Media) => {
      const validate = ajv.compile(resolved(schema));
      assert.ok(validate(example), `${where}: ${JSON.stringify(validate.errors?.[0])} ${JSON.stringify(example)}`);
      return validate;
    };
    for (const [where, { requestBody, responses, parameters = [] }] of operationsOf(document)) {
      for (const parameter of parameters)
        if (parameter.example !== undefined) check(`${where} ${parameter.name}`, parameter);
      for (const [mediaType, media] of Object.entries(requestBody?.content ?? {}))
        if (mediaType === "application/json") check(`${where} request`, media);
      for (const [status, { content = {} }] of Object.entries(responses))
        for (const [mediaType, media] of Object.entries(content)) {
          if (mediaType !== "application/json" && mediaType !== "text/event-stream") continue;
          const validate = check(`${where} ${status}`, media);
          const newer = withNewFields(media.example);
          assert.ok(validate(newer), `${where} ${status} with more: ${JSON.stringify(validate.errors?.[0])}`);
        }
    }
    for (const [name, { content = {} }] of Object.entries(document.components.responses))
      for (const media of Object.values(content)) check(name, media);
  }
});

/** References made to point into the document under its name. */
const resolved = (schema: object): object =>
  JSON.parse(JSON.stringify(schema).replaceAll('"#/components', '"document#/components')) as object;

/** Objects whose names people choose take no other names. */
const withNewFields = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(withNewFields);
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value).map(([name, part]): [string, unknown] => [name, withNewFields(part)]);
  const isMap = fields.every(([name]) => ["LOG_LEVEL", "web", "worker", "disk"].includes(name));
  return Object.fromEntries(isMap && fields.length > 0 ? fields : [...fields, ["newField", { of: "a newer control" }]]);
};

test("each required parameter of a path, and each endpoint's nouns, are said in words and shown", () => {
  for (const document of documents) {
    const described = new Map(document.tags.map(({ name, description }) => [name, description]));
    assert.ok(document.servers.length > 0);
    for (const [where, { tags, parameters = [] }] of operationsOf(document)) {
      assert.ok(tags.length === 1 && (described.get(tags[0]!) ?? "").length > 10, `${where} ${tags.join()}`);
      for (const { $ref, in: place, name, example } of parameters)
        if ($ref === undefined && place === "path") assert.ok(example !== undefined, `${where} ${name}`);
    }
  }
});

test.run();

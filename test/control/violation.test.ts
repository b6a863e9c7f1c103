// A refused request says in a sentence what to change, and repeats of the caller's text only what is harmless.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Violation, violationFault } from "../../control/violation.ts";

const TABLE: [claim: string, violation: Partial<Violation>, message: string, field: string, part?: string][] = [
  ["a missing field", { keyword: "required", params: { missingProperty: "name" } }, "name is missing", "name"],
  [
    "a missing field of a part",
    { keyword: "required", instancePath: "/health/web", params: { missingProperty: "type" } },
    "type is missing in health.web",
    "health.web.type",
  ],
  [
    "a field too many",
    { keyword: "additionalProperties", params: { additionalProperty: "nmae" } },
    '"nmae" is not a field of this request',
    "nmae",
  ],
  [
    "a query field too many",
    { keyword: "additionalProperties", params: { additionalProperty: "x" } },
    '"x" is not a field of this query',
    "x",
    "querystring",
  ],
  [
    "a key that is no name",
    { keyword: "additionalProperties", params: { additionalProperty: "a b" }, parentSchema: { patternProperties: {} } },
    '"a b" is not a valid name',
    "a b",
  ],
  [
    "a wrong type",
    { keyword: "type", instancePath: "/port", params: { type: "integer" } },
    "port must be an integer",
    "port",
  ],
  ["a body of a wrong type", { keyword: "type", params: { type: "object" } }, "the body must be an object", ""],
  [
    "one of several types",
    { keyword: "type", instancePath: "/a", params: { type: "string,null" } },
    "a must be a string or null",
    "a",
  ],
  [
    "none of a set",
    { keyword: "enum", instancePath: "/tls", params: { allowedValues: ["both", "redirect"] } },
    "tls must be one of both, redirect",
    "tls",
  ],
  [
    "a pattern, with what is wanted",
    {
      keyword: "pattern",
      instancePath: "/name",
      data: "A b",
      params: {},
      parentSchema: { description: "a DNS label" },
    },
    'name is not valid: "A b"; wanted: a DNS label',
    "name",
  ],
  [
    "too long",
    { keyword: "maxLength", instancePath: "/name", params: { limit: 30 } },
    "name is longer than 30 characters",
    "name",
  ],
  ["too short", { keyword: "minLength", instancePath: "/name", params: {} }, "name is empty or too short", "name"],
  ["too small", { keyword: "minimum", instancePath: "/port", params: { limit: 1 } }, "port must be at least 1", "port"],
  [
    "too large",
    { keyword: "maximum", instancePath: "/port", params: { limit: 65535 } },
    "port must be at most 65535",
    "port",
  ],
  [
    "too many",
    { keyword: "maxItems", instancePath: "/list", params: { limit: 3 } },
    "list has more than 3 entries",
    "list",
  ],
];

const type = { keyword: "type", params: { type: "string" } };
TABLE.push(
  ["the body as a whole", type, "the body must be a string", ""],
  ["the query as a whole", type, "the query must be a string", "", "querystring"],
  ["another part as a whole", type, "the params must be a string", "", "params"],
  [
    "a part of the query",
    { ...type, instancePath: "/limit", params: { type: "integer" } },
    "limit must be an integer",
    "limit",
    "querystring",
  ],
  [
    "several types",
    { ...type, params: { type: "object,null,string" } },
    "the body must be an object or null or a string",
    "",
  ],
  [
    "a name that is none",
    { keyword: "propertyNames", instancePath: "/env", params: { propertyName: "A B" } },
    '"A B" is not a valid name in env',
    "env.A B",
  ],
  [
    "a name that no pattern has",
    {
      keyword: "additionalProperties",
      instancePath: "/env",
      params: { additionalProperty: "a" },
      parentSchema: { patternProperties: {} },
    },
    '"a" is not a valid name in env',
    "env.a",
  ],
  [
    "what no pattern has, without words for it",
    { keyword: "pattern", instancePath: "/name", params: {}, data: 7 },
    'name is not valid: "7"',
    "name",
  ],
  [
    "any other",
    { keyword: "format", instancePath: "/at", message: "must be a date", params: {} },
    "at must be a date",
    "at",
  ],
  ["any other, without words", { keyword: "format", instancePath: "/at", params: {} }, "at is not valid", "at"],
  [
    "too many of another kind",
    { keyword: "maxProperties", instancePath: "/env", params: { limit: 2 } },
    "env has more than 2 entries",
    "env",
  ],
);

test("a text is shown whole up to sixty characters, and a field's name up to two hundred", () => {
  const of = (length: number) =>
    violationFault({ keyword: "propertyNames", instancePath: "", params: { propertyName: "x".repeat(length) } });
  assert.is(of(60).message, `"${"x".repeat(60)}" is not a valid name`);
  assert.is(of(61).message, `"${"x".repeat(60)}..." is not a valid name`);
  assert.is(String(of(300).details?.["field"]).length, 200);
});

for (const [claim, violation, message, field, part] of TABLE)
  test(`${claim} is said as: ${message}`, () => {
    const fault = violationFault({ keyword: "", instancePath: "", params: {}, ...violation }, part);
    assert.equal([fault.code, fault.message, fault.details?.["field"]], ["invalid", message, field]);
  });

test("what the caller wrote is cut and quoted: no control character gets through", () => {
  const { message } = violationFault({
    keyword: "additionalProperties",
    instancePath: "",
    params: { additionalProperty: `\u001b[2J${"x".repeat(500)}` },
  });
  assert.not.match(message, /\u001b/);
  assert.ok(message.length < 120, message);
});

test.run();

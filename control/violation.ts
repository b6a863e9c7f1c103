// From what the schema check found to a sentence that a person can act on.
import { Fault } from "#api/fault.ts";

/** One finding of ajv (https://ajv.js.org/api.html#error-objects), with `verbose`. */
export interface Violation {
  keyword: string;
  instancePath: string;
  message?: string;
  params: Record<string, unknown>;
  /** Of a name that is not fit, found by what is inside `propertyNames`. */
  propertyName?: string;
  data?: unknown;
  parentSchema?: { description?: string; patternProperties?: unknown; anyOf?: { type?: string }[] };
}

const SHOWN_MOST = 60;

export function violationFault(violation: Violation, part = "body"): Fault {
  const { params, propertyName } = violation;
  const path = violation.instancePath.slice(1).replaceAll("/", ".");
  const added = params["additionalProperty"] ?? params["missingProperty"] ?? params["propertyName"] ?? propertyName;
  const field = [path, added].filter((name) => name !== undefined && name !== "").join(".");
  return new Fault("invalid", sentence(violation, path, part), { details: { field: field.slice(0, 200) } });
}

function sentence(violation: Violation, path: string, part: string): string {
  const { keyword, message, params, propertyName, data, parentSchema } = violation;
  const what = path || (part === "body" ? "the body" : `the ${part === "querystring" ? "query" : part}`);
  const inside = path ? ` in ${path}` : "";
  if (propertyName !== undefined || keyword === "propertyNames")
    return `${shown(propertyName ?? params["propertyName"])} is not a valid name${inside}`;
  switch (keyword) {
    case "additionalProperties": {
      const name = shown(params["additionalProperty"]);
      return parentSchema?.patternProperties
        ? `${name} is not a valid name${inside}`
        : `${name} is not a field of this ${part === "querystring" ? "query" : "request"}${inside}`;
    }
    case "required":
      return `${String(params["missingProperty"])} is missing${inside}`;
    case "type":
      return `${what} must be ${withArticle(String(params["type"]))}`;
    case "enum":
      return `${what} must be one of ${(params["allowedValues"] as string[]).join(", ")}`;
    case "pattern":
    case "not":
      return `${what} is not valid: ${shown(data)}${parentSchema?.description ? `; wanted: ${parentSchema.description}` : ""}`;
    case "maxLength":
      return `${what} is longer than ${String(params["limit"])} characters`;
    case "minLength":
      return `${what} is empty or too short`;
    case "minimum":
    case "maximum":
      return `${what} must be at ${keyword === "minimum" ? "least" : "most"} ${String(params["limit"])}`;
    case "maxItems":
    case "maxProperties":
      return `${what} has more than ${String(params["limit"])} entries`;
    default:
      return `${what} ${message ?? "is not valid"}`;
  }
}

function withArticle(type: string): string {
  const names = type
    .split(",")
    .map((name) => (/^[aeiou]/.test(name) ? `an ${name}` : name === "null" ? name : `a ${name}`));
  return names.join(" or ");
}

/** Text of the caller's, cut and quoted so that no control character gets through. */
function shown(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return JSON.stringify(text.length > SHOWN_MOST ? `${text.slice(0, SHOWN_MOST)}...` : text);
}

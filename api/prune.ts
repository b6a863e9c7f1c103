// Between programs of ours what a newer one says beside what this one knows is passed over: fields that the schema does not name are
// taken out before the rest is checked. Never names that people choose (tags, variables), and never of what people send: a typo
// would be lost.
interface Schema {
  properties?: Record<string, Schema>;
  patternProperties?: unknown;
  additionalProperties?: unknown;
  items?: Schema;
  anyOf?: Schema[];
}

export function pruneUnknown(schema: unknown, value: unknown): void {
  const { properties, patternProperties, additionalProperties, items, anyOf } = schema as Schema;
  const shapes = anyOf?.filter((each) => each.properties !== undefined || each.items !== undefined) ?? [];
  if (shapes.length === 1) pruneUnknown(shapes[0], value); // that, or null
  if (Array.isArray(value)) {
    if (items !== undefined) for (const each of value) pruneUnknown(items, each);
    return;
  }
  if (properties === undefined || typeof value !== "object" || value === null) return;
  const fields = value as Record<string, unknown>;
  for (const name of Object.keys(fields)) {
    if (Object.hasOwn(properties, name)) pruneUnknown(properties[name], fields[name]);
    else if (additionalProperties === false && patternProperties === undefined) delete fields[name];
  }
}

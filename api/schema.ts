// The small shapes every noun shares. Objects refuse unknown fields: a typo is an error, not silence.
import { type Static, type TProperties, type TSchema, Type } from "typebox";

export const object = <P extends TProperties>(properties: P, description?: string) =>
  Type.Object(properties, { additionalProperties: false, ...(description ? { description } : {}) });

/** A closed set on the wire: a union of string literals that validates as one `enum`. */
export const oneOf = <const T extends readonly [string, ...string[]]>(values: T, description?: string) =>
  Type.Unsafe<T[number]>({ type: "string", enum: [...values], ...(description ? { description } : {}) });

/** Names to values, any number of them; a name that does not fit is refused, not passed over. */
export const recordOf = <K extends TSchema & { pattern?: string; not?: object }, V extends TSchema>(
  name: K,
  value: V,
  description?: string,
) =>
  Type.Unsafe<Record<string, Static<V>>>({
    type: "object",
    patternProperties: { [name.pattern!]: value },
    additionalProperties: false,
    ...(name.not ? { propertyNames: { not: name.not } } : {}),
    ...(description ? { description } : {}),
  });

export const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

export const listOf = <T extends TSchema>(item: T) =>
  object({
    items: Type.Array(item),
    nextCursor: Type.Optional(Type.String({ description: "Give as `cursor` for the next page; absent on the last." })),
  });

export const Id = Type.String({
  minLength: 1,
  maxLength: 64,
  pattern: "^[a-zA-Z0-9][a-zA-Z0-9._-]*$",
  description: "An id, or a name where names are unique.",
});
export const Name = Type.String({
  pattern: "^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$",
  description: "1-30 of a-z, 0-9 and -, begins with a letter, ends with a letter or digit.",
});
/** A key that a poisoned JSON text could make a prototype of. */
export const notConstructor = { not: { enum: ["constructor"] } } as const;
export const ProcessName = Type.String({
  pattern: "^[a-z][a-z0-9_-]{0,29}$",
  ...notConstructor,
  description: "Process type of a release, such as web: 1-30 of a-z, 0-9, - and _, begins with a letter.",
});
const PROCESS_NAME = new RegExp((ProcessName as { pattern?: string }).pattern!);
export const isProcessName = (text: string): boolean => PROCESS_NAME.test(text) && text !== "constructor";
export const Time = Type.String({
  maxLength: 40,
  pattern: "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(\\.\\d{1,9})?Z$",
  description: "ISO 8601, UTC, such as 2026-01-31T12:00:00Z.",
});
export const Ipv4 = Type.String({
  pattern: "^(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)(\\.(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)){3}$",
  description: "IPv4 address, no zeros before its numbers.",
});
/** Text that may become an argument or a variable of a process: anything but NUL (execve ends there). */
export const ProcessText = (maxLength: number) =>
  Type.String({ maxLength, pattern: "^[^\\u0000]*$", description: `At most ${maxLength} characters, no NUL.` });
export const Sha256 = Type.String({ pattern: "^[0-9a-f]{64}$", description: "sha256, 64 hex digits." });
export const Mac = Type.String({
  pattern: "^([0-9a-f]{2}:){5}[0-9a-f]{2}$",
  description: "Ethernet address, lower case, colons.",
});
const TagName = Type.String({ pattern: "^[a-zA-Z0-9._/-]{1,63}$" });
const TagValue = Type.String({
  maxLength: 63,
  pattern: "^[a-zA-Z0-9._/-]*$",
  description: "At most 63 of letters, digits and ._/-.",
});
export const Tags = recordOf(
  TagName,
  TagValue,
  "Labels; a job with tags is placed only on hosts that carry all of them.",
);
export const TagChanges = recordOf(TagName, nullable(TagValue), "Changes; null removes.");
export const EnvName = "^[A-Za-z_][A-Za-z0-9_]{0,127}$";
export const Env = recordOf(
  Type.String({ pattern: EnvName }),
  ProcessText(8192),
  "Environment variables; a release's whole environment is at most 12 KiB.",
);
export const EnvChanges = recordOf(
  Type.String({ pattern: EnvName }),
  nullable(ProcessText(8192)),
  "Changes; null removes.",
);
export const IdParams = object({ id: Id });
export const AppParams = object({ app: Id });
export const PageQuery = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
  cursor: Type.Optional(Type.String({ maxLength: 1024 })),
};
export const Nothing = object({});

/** CPU in thousandths of a core, memory and disk in bytes. */
export const Resources = object({
  cpuMillis: Type.Integer({ minimum: 0, maximum: 100_000_000, description: "Thousandths of one CPU core." }),
  memoryBytes: Type.Integer({ minimum: 0, maximum: 2 ** 50, description: "Bytes." }),
  diskBytes: Type.Integer({ minimum: 0, maximum: 2 ** 50, description: "Bytes of the state file system." }),
});
export type Resources = Static<typeof Resources>;
export type Tags = Static<typeof Tags>;

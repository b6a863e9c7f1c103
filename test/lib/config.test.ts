import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Type } from "typebox";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadConfig } from "#lib/config.ts";

const schema = Type.Object({
  port: Type.Integer({ default: 7777, minimum: 1, maximum: 65_535 }),
  name: Type.String({ default: "here" }),
  hostNames: Type.Array(Type.String(), { default: [] }),
  strict: Type.Boolean({ default: false }),
});

async function withFile<T>(text: string, work: (file: string) => T): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "flynn-config-"));
  try {
    const file = join(folder, "a.yaml");
    await writeFile(file, text);
    return work(file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const message = (work: () => unknown) => {
  try {
    work();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("it did not fail");
};

test("without sources everything has its default", () => {
  assert.equal(loadConfig(schema), { port: 7777, name: "here", hostNames: [], strict: false });
});

test("flags win over the environment, that over the file, that over the defaults", async () => {
  await withFile("port: 1\nname: file\nstrict: true\n", (file) => {
    const env = { prefix: "X", variables: { X_PORT: "2", X_NAME: "12" } };
    assert.equal(loadConfig(schema, { file, env, flags: { port: 3, name: undefined } }), {
      port: 3,
      name: "12",
      hostNames: [],
      strict: true,
    });
  });
});

test("an environment variable is named after its field and read as YAML unless the field is text", () => {
  const variables = { X_HOST_NAMES: "[a, b]", X_STRICT: "true", X_NAME: "true" };
  assert.equal(loadConfig(schema, { env: { prefix: "X", variables } }), {
    port: 7777,
    name: "true",
    hostNames: ["a", "b"],
    strict: true,
  });
});

test("an unknown field is an error that names the field and the file", async () => {
  await withFile("prot: 1\n", (file) => {
    const text = message(() => loadConfig(schema, { file }));
    assert.match(text, "prot");
    assert.match(text, file);
  });
});

test("every wrong value is told at once", async () => {
  await withFile("port: 0\nstrict: maybe\n", (file) => {
    const text = message(() => loadConfig(schema, { file }));
    assert.match(text, "port");
    assert.match(text, "strict");
  });
});

test("a file that is missing, no YAML or no mapping is an error that names it", async () => {
  assert.match(
    message(() => loadConfig(schema, { file: "/nonexistent.yaml" })),
    "/nonexistent.yaml",
  );
  await withFile("a: [", (file) =>
    assert.match(
      message(() => loadConfig(schema, { file })),
      file,
    ),
  );
  await withFile("- a\n- b\n", (file) =>
    assert.match(
      message(() => loadConfig(schema, { file })),
      "must be a mapping",
    ),
  );
  await withFile("", (file) => assert.is(loadConfig(schema, { file }).port, 7777));
});

test("prototype keys in the file are refused and leave no trace", async () => {
  await withFile('"__proto__": {"polluted": true}\nconstructor: {"x": 1}\n', (file) => {
    message(() => loadConfig(schema, { file }));
    assert.is(({} as { polluted?: boolean }).polluted, undefined);
  });
});

test("a wrong value is told in words: whose setting, what it is, and what it may be with an example; never a pattern", async () => {
  const rules = Type.Object({
    size: Type.String({ default: "", pattern: "^(\\d+GiB)?$", wants: "a size, such as 2GiB" }),
    mode: Type.Unsafe<string>({ type: "string", enum: ["full", "proxy"], default: "full" }),
    ports: Type.Array(Type.Integer({ minimum: 1, maximum: 9 }), { default: [] }),
    bare: Type.String({ default: "", pattern: "^[a-z]*$", description: "Small letters." }),
    joinToken: Type.String({ default: "", pattern: "^(fjt_)?$", wants: "a token of this cluster" }),
    count: Type.Integer({ default: 0 }),
    on: Type.Boolean({ default: false }),
    need: Type.String({ default: "x", minLength: 1 }),
  });
  const flagName = (field: string) => `--${field}`;
  const said = (flags: Record<string, unknown>) => message(() => loadConfig(rules, { flags, flagName }));
  assert.is(said({ size: "2xB" }), "--size 2xB: must be a size, such as 2GiB");
  assert.is(said({ mode: "both" }), "--mode both: must be full or proxy");
  assert.is(said({ ports: [1, 12] }), "--ports 12: must be a whole number from 1 to 9");
  assert.is(said({ ports: ["a b"] }), '--ports "a b": must be a whole number from 1 to 9');
  assert.is(said({ bare: "X" }), "--bare X: is not right. Small letters.");
  assert.is(said({ joinToken: "fjt_secret" }), "--joinToken: must be a token of this cluster");
  assert.is(said({ count: 1.5 }), "--count 1.5: must be a whole number");
  assert.is(said({ on: "maybe" }), "--on maybe: must be true or false");
  assert.is(said({ need: "" }), '--need "": must not be empty');
  assert.is(said({ nothing: 1 }), "--nothing is not a setting");
  assert.is(
    message(() => loadConfig(rules, { env: { prefix: "X", variables: { X_MODE: "both" } }, flagName })),
    "X_MODE both: must be full or proxy",
  );
  await withFile("mode: both\n", (file) =>
    assert.is(
      message(() => loadConfig(rules, { file, flagName })),
      `mode in ${file} both: must be full or proxy`,
    ),
  );
});

test.run();

// Golden text: what people and machines run, kept word for word in test/golden/. UPDATE_GOLDEN=1 rewrites the files.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";

export function matchesGolden(name: string, text: string): void {
  const path = fileURLToPath(new URL(name, import.meta.url));
  if (process.env["UPDATE_GOLDEN"] === "1") writeFileSync(path, text);
  assert.fixture(text, readFileSync(path, "utf8"));
}

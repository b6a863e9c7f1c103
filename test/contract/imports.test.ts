// No file of a program knows more than thirty others: who needs more than that is two things, or wires what could wire itself.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const MOST = 30;
/** Tables, one line an entry, of what is in a folder: the length is the folder's. */
const TABLES = new Set(["cli/commands.ts", "api/endpoints.ts"]);

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const FOLDERS = ["api", "bootstrap", "cli", "control", "hostd", "images", "lib", "router"];

async function sources(): Promise<string[]> {
  const lists = FOLDERS.map(async (folder) =>
    (await readdir(join(ROOT, folder), { recursive: true })).map((path) => join(folder, path)),
  );
  return (await Promise.all(lists)).flat().filter((path) => path.endsWith(".ts") && !path.includes("node_modules"));
}

const importsOf = (text: string): number =>
  text.match(/^(?:import\b.*|\}) from "[^"]+";$|^import "[^"]+";$/gm)?.length ?? 0;

test("imports are counted as they are written, on one line or on several", () => {
  assert.is(
    importsOf('import a from "a";\nimport type { B } from "./b.ts";\nimport {\n  c,\n  d,\n} from "./c.ts";\n'),
    3,
  );
  assert.is(importsOf('const text = `import x from "y";`;\n'), 0);
});

test(`no source imports more than ${MOST} others`, async () => {
  const paths = (await sources()).filter((path) => !TABLES.has(path));
  assert.ok(paths.length > 500, `${paths.length} sources found`);
  const counts = paths.map(async (path) => ({ path, imports: importsOf(await readFile(join(ROOT, path), "utf8")) }));
  assert.equal(
    (await Promise.all(counts)).filter(({ imports }) => imports > MOST),
    [],
  );
});

test.run();

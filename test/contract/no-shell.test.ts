// No program of the product hands a text to a shell, or makes code of one: children are argv arrays (lib/exec.ts, `spawn`). Read from
// the source, so that a way round it fails here before it is run.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const FOLDERS = ["api", "bootstrap", "cli", "control", "hostd", "images", "lib", "router"];

/** What node:child_process offers that takes argv; exec, execSync and fork are not among it. */
const ALLOWED = new Set(["spawn", "spawnSync", "execFileSync", "ChildProcess", "ChildProcessByStdio"]);

const FORBIDDEN: [RegExp, string][] = [
  [/\bshell\s*:\s*(?!false\b)(?!Shell\b)(?!Type\.)\S+/, "the option shell"],
  [/\bexecSync\b/, "execSync"],
  [/\bfrom\s+"child_process"/, "child_process without node:"],
  [/\bimport\s*\(\s*["'`](?:node:)?(?:child_process|vm)\b/, "child_process or vm by import()"],
  [/\brequire\s*\(\s*["'`](?:node:)?(?:child_process|vm)\b/, "child_process or vm by require()"],
  [/\bimport\s+(?:\*\s+as\s+\w+|\w+)\s+from\s+"node:child_process"/, "node:child_process as a whole"],
  [/\bfrom\s+"node:vm"/, "node:vm"],
  [/(?<![.\w])eval\s*\(/, "eval"],
  [/\bnew\s+Function\s*\(/, "new Function"],
  [/["'`]-[a-z]*c["'`]\s*,\s*`[^`]*\$\{/, "a shell's -c with a text put together"],
  [/["'`]-[a-z]*c["'`]\s*,\s*[^\]`,]*["'`]\s*\+/, "a shell's -c with a text put together"],
];

function problems(source: string): string[] {
  const found = FORBIDDEN.filter(([pattern]) => pattern.test(source)).map(([, what]) => what);
  for (const [, names = ""] of source.matchAll(/\bimport\s+(?:type\s+)?\{([^}]*)\}\s+from\s+"node:child_process"/g))
    for (const name of names.split(",").map((each) => each.replace(/\btype\b|\bas\b.*$/g, "").trim()))
      if (name !== "" && !ALLOWED.has(name)) found.push(`${name} of node:child_process`);
  return found;
}

test("each forbidden way is seen, and what is sound is not", () => {
  const bad = [
    `spawn(file, args, { shell: true })`,
    `spawn(file, args, { shell: "/bin/sh" })`,
    `spawn(file, args, { shell : options.shell })`,
    `import { exec } from "node:child_process";`,
    `import { type ChildProcess, exec as run, spawn } from "node:child_process";`,
    `import { fork } from "node:child_process";`,
    `import * as children from "node:child_process";`,
    `import children from "node:child_process";`,
    `const { exec } = await import("node:child_process");`,
    `const { exec } = require("child_process");`,
    `execSync("id")`,
    `exec(["sh", "-c", \`ls \${name}\`])`,
    'exec(["bash", "-ec", "ls " + name])',
    `eval(text)`,
    `new Function("a", text)`,
    `import { runInNewContext } from "node:vm";`,
  ];
  for (const source of bad) assert.ok(problems(source).length > 0, source);
  const sound = [
    `spawn(file, args, { shell: false })`,
    `object({ shell: Type.Optional(line("^/")) })`, // a field of a schema: cloud-init's login shell
    `import { type ChildProcess, spawn } from "node:child_process";`,
    `const match = /x/.exec(text); await exec(["git", "init"]);`,
    `exec(["sh", "-c", SCRIPT, "sh", name])`,
    `page.eval(x); retrieval(y)`,
  ];
  for (const source of sound) assert.equal(problems(source), [], source);
});

test("no source of the product hands a text to a shell or makes code of one", async () => {
  const found: string[] = [];
  let read = 0;
  for (const folder of FOLDERS)
    for (const entry of await readdir(join(ROOT, folder), { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (!entry.isFile() || !/\.(ts|mts|js|mjs|cjs)$/.test(entry.name) || /\/(node_modules|\.cache)\//.test(path))
        continue;
      read++;
      for (const what of problems(await readFile(path, "utf8"))) found.push(`${path.slice(ROOT.length)}: ${what}`);
    }
  assert.ok(read > 300, `${read} files were read`);
  assert.equal(found, []);
});

test.run();

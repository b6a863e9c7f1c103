// The copy in which mutants run: their tests see the broken source, and nothing that they do reaches beyond it.
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { copyOf } from "./copy.ts";

const uvu = fileURLToPath(import.meta.resolve("uvu"));
const TEST = `import { test } from ${JSON.stringify(uvu)};
import { ok, throws } from "node:assert";
import { networkInterfaces } from "node:os";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { answer } from "./answer.ts";
test("answer", () => ok(answer === 1));
test("network", () => ok(Object.keys(networkInterfaces()).join() === "lo"));
test("files", () => {
  ok(readdirSync("/tmp").length === 0);
  throws(() => writeFileSync("/var/tmp/flynn-mutant-was-here", ""), /EROFS/);
  throws(() => rmSync(PRECIOUS), /EROFS|ENOENT/);
  writeFileSync("mine", "");
});
test.run();
`;

test("a mutant's test sees the broken source, no network, no /tmp of others, can write to the copy alone and ends when one fails", async () => {
  const base = await mkdtemp(join(tmpdir(), "flynn-copy-"));
  const precious = join(base, "precious");
  const put = async (path: string, text: string) => {
    await mkdir(dirname(join(base, path)), { recursive: true });
    await writeFile(join(base, path), text);
  };
  const controller = new AbortController();
  const options = { limitMs: 30_000, signal: controller.signal };
  let removed = "";
  try {
    await put("precious", "kept");
    await put("tree/package.json", `{"type":"module"}`);
    await put("tree/test/answer.ts", "export const answer: number = 1;");
    await put("tree/test/a.test.ts", TEST.replace("PRECIOUS", JSON.stringify(precious)));
    await exec(["git", "init", "-q", join(base, "tree")]);
    const copy = await copyOf(join(base, "tree"));
    removed = copy.root;
    try {
      const sound = await copy.run("test/a.test.ts", options);
      assert.is(sound.passed, 3, sound.output);
      await copy.write("test/answer.ts", "export const answer: number = 2;");
      const broken = await copy.run("test/a.test.ts", options);
      assert.equal([broken.passed, broken.failed], [0, 1], "it went on after its first failed test");
      assert.is(await readFile(join(base, "tree/test/answer.ts"), "utf8"), "export const answer: number = 1;");
      assert.is(await readFile(precious, "utf8"), "kept");
      assert.ok(existsSync(join(copy.root, "mine")));
    } finally {
      await copy.remove();
    }
    assert.not(existsSync(removed));
  } finally {
    await rm(base, { recursive: true, force: true });
  }
});

test.run();

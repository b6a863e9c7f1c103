import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readJson, readText, removeUnfinished, writeFileAtomic } from "#lib/files.ts";
import { onSmallDisk } from "./small-disk.ts";

const files = suite<{ folder: string }>("files");

files.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "flynn-files-"));
});

files.after.each(async ({ folder }) => {
  await rm(folder, { recursive: true, force: true });
});

files("an atomic write makes the folders, sets the mode and leaves nothing beside", async ({ folder }) => {
  const path = join(folder, "a/b/secret");
  await writeFileAtomic(path, "one", { mode: 0o600 });
  await writeFileAtomic(path, Buffer.from("two"), { mode: 0o600 });
  assert.is(await readFile(path, "utf8"), "two");
  assert.is((await stat(path)).mode & 0o777, 0o600);
  assert.equal(await readdir(join(folder, "a/b")), ["secret"]);
});

files("a write that cannot replace its target leaves the old content and no copy", async ({ folder }) => {
  const path = join(folder, "target");
  await writeFileAtomic(join(path, "inside"), "kept"); // the target is a folder with something in it
  await writeFileAtomic(path, "new").then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, path),
  );
  assert.is(await readFile(join(path, "inside"), "utf8"), "kept");
  assert.equal(await readdir(folder), ["target"]);
});

files("a reader never sees half of a file that is written over and over", async ({ folder }) => {
  const path = join(folder, "a");
  const contents = ["a".repeat(200_000), "b".repeat(100_000)];
  await writeFileAtomic(path, contents[0]!);
  const controller = new AbortController();
  const reading = (async () => {
    let reads = 0;
    for (; !controller.signal.aborted; reads++)
      assert.ok(contents.includes(await readFile(path, "utf8")), "half a file");
    return reads;
  })();
  for (let n = 0; n < 20; n++) await writeFileAtomic(path, contents[n % 2]!);
  controller.abort();
  assert.ok((await reading) > 0);
});

files("a missing file is undefined; one that cannot be read is an error", async ({ folder }) => {
  assert.is(await readText(join(folder, "none")), undefined);
  assert.is(await readJson(join(folder, "none")), undefined);
  await readText(folder).then(
    () => assert.unreachable(),
    (error: NodeJS.ErrnoException) => assert.is(error.code, "EISDIR"),
  );
});

files("what a writer that was killed left goes; what one that lives writes stays", async ({ folder }) => {
  const names = ["a.json", `b.json.${process.pid}.tmp`, "c.json.1.tmp", "d.json.4194305.tmp"]; // beyond any pid there is
  for (const name of names) await writeFile(join(folder, name), "x");
  await removeUnfinished(folder, join(folder, "none"));
  assert.equal((await readdir(folder)).sort(), names.slice(0, 3));
});

files("JSON that was torn is undefined", async ({ folder }) => {
  const path = join(folder, "a.json");
  await writeFile(path, '{"a": [1, 2');
  assert.is(await readJson(path), undefined);
  await writeFile(path, '{"a": [1, 2]}');
  await chmod(path, 0o400);
  assert.equal(await readJson(path), { a: [1, 2] });
});

files("on a full disk what cannot be written whole leaves what was there, and no beginning of itself", () =>
  onSmallDisk(async ({ path, fill, free }) => {
    const file = join(path, "file");
    await writeFileAtomic(file, "before");
    await fill();
    const error = await writeFileAtomic(file, "x".repeat(100_000)).then(
      () => undefined,
      (cause: NodeJS.ErrnoException) => cause,
    );
    assert.is(error?.code, "ENOSPC");
    await free();
    assert.equal(await readdir(path), ["file"]);
    assert.is(await readText(file), "before");
  }),
);

files.run();

import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { extract, pack } from "tar-stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { singleFile } from "../../../hostd/builds/archive.ts";
import { dockerContext, readSource } from "../../../hostd/builds/context.ts";
import { readOutput } from "../../../hostd/builds/dockerfile-output.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-context-"));
test.after(() => rm(directory, { recursive: true, force: true }));

async function source(files: Record<string, string>, links: Record<string, string> = {}): Promise<string> {
  const archive = pack();
  for (const [name, content] of Object.entries(files)) archive.entry({ name }, content);
  for (const [name, linkname] of Object.entries(links)) archive.entry({ name, type: "symlink", linkname });
  archive.finalize();
  const path = join(directory, `${Math.random()}.tar`);
  await pipeline(Readable.from(archive as AsyncIterable<Buffer>), createWriteStream(path));
  return path;
}

async function read(context: Readable): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  const reader = Readable.from([await buffer(context)]).pipe(extract() as never) as unknown as AsyncIterable<
    AsyncIterable<Buffer> & { header: { name: string } }
  >;
  for await (const entry of reader) files[entry.header.name] = await text(entry);
  return files;
}

test("the context is what .dockerignore leaves, with the Dockerfile that was understood", async () => {
  const file = await source({
    "./Dockerfile": "FROM evil",
    ".dockerignore": "x",
    "a/keep.md": "1",
    "a/drop.md": "2",
    "node_modules/x/y": "3",
    "big.bin": "z".repeat(300_000),
  });
  const dockerfile = { path: "Dockerfile", text: "FROM good" };
  const ignore = "# no\n**/*.md\n!a/keep.md\nnode_modules\nDockerfile\n.dockerignore\n";
  const files = await read(dockerContext({ file, dockerfile, ignore }));
  assert.equal(Object.keys(files), ["Dockerfile", ".dockerignore", "a/keep.md", "big.bin"]);
  assert.is(files["Dockerfile"], "FROM good");
  assert.is(files["big.bin"]?.length, 300_000);
});

test("the files of the source that are read are plain files of bearable size", async () => {
  const file = await source({ "b/Dockerfile": "FROM x" }, { Dockerfile: "/etc/shadow" });
  assert.is((await readSource(file, ["b/Dockerfile", "none"])).get("b/Dockerfile"), "FROM x");
  const failure = await readSource(file, ["Dockerfile"]).catch((error: Error) => error.message);
  assert.is(failure, "Dockerfile is no plain file");
});

test("what is read out of a container is one plain file within its size", async () => {
  const archiveOf = (header: Parameters<ReturnType<typeof pack>["entry"]>[0], content?: string) => {
    const archive = pack();
    if (content === undefined) archive.entry(header);
    else archive.entry(header, content);
    archive.finalize();
    return Readable.from(archive as AsyncIterable<Buffer>);
  };
  const take = async (archive: Readable) => {
    const found = await singleFile(archive, { what: "the slug", maxBytes: 1 << 20 });
    return text(found.body);
  };
  assert.is(await take(archiveOf({ name: "slug" }, "content")), "content");
  const refused = (archive: Readable) => take(archive).catch((error: Error) => error.message);
  assert.is(
    await refused(archiveOf({ name: "slug", type: "symlink", linkname: "/etc/shadow" })),
    "the slug is no plain file",
  );
  assert.is(await refused(archiveOf({ name: "slug" }, "x".repeat(2 << 20))), "the slug is larger than 1 MiB");
  const empty = pack();
  empty.finalize();
  assert.is(await refused(Readable.from(empty as AsyncIterable<Buffer>)), "the slug is missing");
});

test("steps are counted and worded as people wrote them; ids and our own steps are not shown", () => {
  const output = readOutput(["FROM x", undefined, "RUN make"]);
  const said = (stream: string) => output.read(stream).flatMap(({ lines }) => lines);
  assert.equal(
    said("Step 1/3 : FROM docker.io/library/x:latest\n ---> 0123456789ab\nStep 2/3 : LABEL flynn.cache=k\n"),
    ["       Step 1/2: FROM x"],
  );
  assert.equal(said(" ---> Using cache\n ---> aaaaaaaaaaaa\nStep 3/3 : RUN make\n"), ["       Step 2/2: RUN make"]);
  const [running] = output.read(" ---> Running in bbbbbbbbbbbb\n");
  assert.equal(running, { lines: [], container: "bbbbbbbbbbbb" });
  assert.equal([...said("cc -"), ...said("o x\n")], ["       cc -o x"]);
  assert.equal(said("Step 3/3 : RUN fake\n"), ["       Step 3/3 : RUN fake"], "a step comes once");
  assert.is(output.step(), "RUN make");
  assert.equal([...output.images], ["0123456789ab", "aaaaaaaaaaaa"]);
});

test.run();

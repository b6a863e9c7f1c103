// time limit: 120 s
// What a source archive may hold: everything that would lead a tar program out of the tree, or a host into trouble, is refused in
// words; everything else comes out as the same plain tar, whatever it was wrapped in.
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import * as tar from "tar-stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Fault, isFault } from "#api/fault.ts";
import { sourceFacts } from "../../../control/builds/facts.ts";
import type { Pace } from "../../../control/builds/pace.ts";
import { type Intake, SOURCE_LIMITS, type SourceLimits, takeSource } from "../../../control/builds/source.ts";
import { sourceTree } from "../../../control/builds/source-tree.ts";
import { archive, type Files } from "./world.ts";

interface Entry {
  name: string;
  type?: string;
  content?: string | Buffer;
  mode?: number;
  linkname?: string;
  pax?: Record<string, string>;
}

async function packed(...entries: Entry[]): Promise<Buffer> {
  const pack = tar.pack();
  for (const { content = "", ...header } of entries)
    pack.entry({ mtime: new Date(0), mode: 0o644, ...header } as never, content as never);
  pack.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of pack) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

interface Taken extends Intake {
  bytes: Buffer;
}

async function take(
  source: Buffer | Readable,
  over: { limits?: Partial<SourceLimits>; unwrap?: boolean; packedBytes?: number; pace?: Pace } = {},
): Promise<Taken> {
  const directory = await mkdtemp(join(tmpdir(), "source-test-"));
  try {
    const file = join(directory, "source.tar");
    const limits = { ...SOURCE_LIMITS, ...over.limits };
    const readable = Buffer.isBuffer(source) ? Readable.from(source.length ? [source] : []) : source;
    const taken = await takeSource(readable, {
      file,
      limits,
      unwrap: over.unwrap ?? false,
      packedBytes: over.packedBytes,
      pace: over.pace,
      signal: new AbortController().signal,
    }).catch(async (error: unknown) => {
      assert.equal(await readdir(directory), [], "nothing is left of what was refused");
      throw error;
    });
    return { ...taken, bytes: await readFile(file) };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function refusal(source: Buffer | Readable, over?: Parameters<typeof take>[1]): Promise<Fault> {
  const error = await take(source, over).then(
    () => new Error("was taken"),
    (cause: unknown) => cause,
  );
  if (!isFault(error)) throw error;
  return error;
}

async function entriesOf(
  bytes: Buffer,
): Promise<{ name: string; type: string; mode: number; uid: number; content: string }[]> {
  const extract = tar.extract();
  extract.end(bytes);
  const found = [];
  for await (const entry of extract) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    const { name, type, mode, uid } = entry.header;
    found.push({ name, type, mode, uid, content: Buffer.concat(chunks).toString() });
  }
  return found;
}

const REFUSED: [string, Entry[], RegExp][] = [
  ["`..`", [{ name: "../etc/passwd" }], /`\.\.` in its name/],
  ["`..` in the middle", [{ name: "a/../../b" }], /`\.\.` in its name/],
  ["`..` with backslashes", [{ name: "a\\..\\..\\b" }], /`\.\.` in its name/],
  ["an absolute name", [{ name: "/etc/passwd" }], /absolute name/],
  ["a newline in a name", [{ name: "a\nb" }], /control characters/],
  ["a symlink to nothing", [{ name: "a", type: "symlink", linkname: "" }], /target that is no path/],
  ["a symlink with a newline", [{ name: "a", type: "symlink", linkname: "b\nc" }], /target that is no path/],
  ["a symlink without end", [{ name: "a", type: "symlink", linkname: "b/".repeat(3_000) }], /target that is no path/],
  ["a file under a symlink", [{ name: "a", type: "symlink", linkname: "b" }, { name: "a/x" }], /no directory/],
  ["a symlink where a directory was", [{ name: "a/x" }, { name: "a", type: "symlink", linkname: "b" }], /twice/],
  ["a file where a file was", [{ name: "a" }, { name: "./a" }], /twice/],
  ["a hard link out", [{ name: "a", type: "link", linkname: "/etc/passwd" }], /absolute/],
  ["a hard link to nothing", [{ name: "a", type: "link", linkname: "b" }], /no file before it/],
  [
    "a hard link to a symlink",
    [
      { name: "b", type: "symlink", linkname: "c" },
      { name: "a", type: "link", linkname: "b" },
    ],
    /no file/,
  ],
  ["a character device", [{ name: "null", type: "character-device" }], /device node/],
  ["a block device", [{ name: "sda", type: "block-device" }], /device node/],
  ["a named pipe", [{ name: "fifo", type: "fifo" }], /named pipe/],
  ["the setuid bit", [{ name: "su", mode: 0o4755 }], /setuid/],
  ["the setgid bit", [{ name: "sg", mode: 0o2755 }], /setgid/],
  [".GIT", [{ name: ".GIT/hooks/post-checkout" }], /another way to write \.git/],
  ["git~1", [{ name: "x/git~1/config" }], /another way to write \.git/],
  [".git with a space", [{ name: ".git /config" }], /another way to write \.git/],
  [".g(zero width)it", [{ name: ".g\u200cit/config" }], /another way to write \.git/],
  [
    "a sparse file",
    [{ name: "s", pax: { "GNU.sparse.major": "1", "GNU.sparse.realsize": "9999999999999" } }],
    /sparse/,
  ],
  ["a part of 300 bytes", [{ name: "a".repeat(300) }], /too long/],
  ["too many directories", [{ name: `${"a/".repeat(150)}b` }], /deeper than/],
];
for (const [what, entries, why] of REFUSED)
  test(`${what} is refused in words, gzipped or not, and leaves nothing behind`, async () => {
    const bytes = await packed({ name: "Procfile", content: "web: x" }, ...entries);
    for (const source of [bytes, gzipSync(bytes)]) {
      const fault = await refusal(source);
      assert.is(fault.code, "invalid", fault.message);
      assert.match(fault.message, why);
      assert.not.match(fault.message, /[\n\u0000]/);
    }
  });

test("what is no archive, empty, cut off or a zip is refused in words", async () => {
  const sound = await archive({ a: randomBytes(200_000) });
  const cases: [Buffer, RegExp][] = [
    [Buffer.alloc(0), /empty/],
    [Buffer.from("hello".repeat(1_000)), /no sound tar archive/],
    [Buffer.from("PK\u0003\u0004 and so on"), /zip archive/],
    [sound.subarray(0, 100_000), /broken or cut off/],
    [gzipSync(sound).subarray(0, 100_000), /broken or cut off/],
    [gzipSync(Buffer.from("no tar".repeat(500))), /no sound tar archive/],
  ];
  for (const [source, why] of cases) assert.match((await refusal(source)).message, why);
});

test("bombs are stopped by what they unpack to, by their files, by their bytes and by their time", async () => {
  const zeros = gzipSync(await packed({ name: "zeros", content: Buffer.alloc(8 * 1024 ** 2) }));
  assert.ok(zeros.length < 20_000);
  const bomb = await refusal(zeros, { limits: { treeBytes: 1024 ** 2 } });
  assert.equal([bomb.code, /larger than 1 MiB unpacked/.test(bomb.message)], ["too-large", true], bomb.message);
  const ratio = await refusal(zeros, { limits: { freeBytes: 1024 ** 2 } });
  assert.match(
    ratio.message,
    /^the source unpacks to more than 100 times what it was packed in, and to more than 1 MiB/,
  );
  // What git packed is measured by its pack; what is not packed, by nothing.
  const plain = await packed({ name: "zeros", content: Buffer.alloc(8 * 1024 ** 2) });
  const pack = await refusal(plain, { limits: { freeBytes: 1024 ** 2 }, packedBytes: 20_000 });
  assert.is(pack.message, ratio.message);
  await take(plain, { limits: { freeBytes: 1024 ** 2 } });
  const many: Files = Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`f${n}`, ""]));
  assert.match((await refusal(await archive(many), { limits: { entries: 40 } })).message, /more than 40 files/);
  const long = await refusal(gzipSync(await archive({ a: randomBytes(100_000) })), { limits: { sentBytes: 50_000 } });
  assert.is(long.code, "too-large", long.message);
  const silent = new Readable({ read() {} });
  silent.push((await archive({ a: "x" })).subarray(0, 600));
  const awake = setInterval(() => undefined, 1_000); // a limit's own timer keeps no process up
  const late = await refusal(silent, { limits: { timeoutMs: 100 } }).finally(() => clearInterval(awake));
  assert.is(late.code, "timeout");
  // Long before that, who drips is told so: it holds a place that others wait for.
  const drip = new Readable({ read() {} });
  drip.push((await archive({ a: "x" })).subarray(0, 600));
  const dripping = setInterval(() => drip.push(Buffer.alloc(1)), 5);
  const slow = await refusal(drip, { pace: { leastBytes: 10_000, windowMs: 100 } }).finally(() =>
    clearInterval(dripping),
  );
  assert.is(slow.code, "timeout");
  assert.match(slow.message, /^the source comes in too slowly: less than .* within/);
});

test("a file that claims more bytes than may be is refused before any of them", async () => {
  const bytes = await packed({ name: "sparse", pax: { size: String(2 ** 50) } });
  assert.is((await refusal(bytes)).code, "too-large");
});

test("what hides behind the end of the archive is not unpacked without end", async () => {
  const bytes = Buffer.concat([await archive({ a: "x" }), Buffer.alloc(70 * 1024 ** 2)]);
  const fault = await refusal(gzipSync(bytes), { limits: { treeBytes: 1024 ** 2 } });
  assert.is(fault.code, "too-large");
});

test("what is kept is names, kinds, x bits and bytes: no owner, no other mode", async () => {
  const { bytes, sha256, sizeBytes } = await take(
    await packed(
      { name: "./", type: "directory", mode: 0o2777 },
      { name: "./bin/run", content: "#!/bin/sh", mode: 0o711 },
      { name: "./secret", content: "s", mode: 0o600 },
      { name: "./l", type: "symlink", linkname: "bin/run" },
      { name: "./h", type: "link", linkname: "./secret" },
      { name: "./é/\u{1f600}", content: "utf-8" },
    ),
  );
  assert.is(createHash("sha256").update(bytes).digest("hex"), sha256);
  assert.is(bytes.length, sizeBytes);
  const seen = (await entriesOf(bytes)).map(
    ({ name, type, mode, uid }) => `${name} ${type} ${mode.toString(8)} ${uid}`,
  );
  assert.equal(seen, [
    "bin/run file 755 0",
    "secret file 644 0",
    "l symlink 644 0",
    "h link 644 0",
    "é/\u{1f600} file 644 0",
  ]);
});

test("the same tree gives the same tar: plain, gzipped, under `./`, in a folder", async () => {
  const files: Files = { Procfile: "web: x", "src/a": "1", "src/l -> a": "" };
  const under = (prefix: string) =>
    Object.fromEntries(Object.entries(files).map(([name, content]) => [`${prefix}${name}`, content]));
  const plain = await take(await archive(files));
  for (const source of [gzipSync(await archive(files)), await archive(under("./")), await archive(under("repo-1a2b/"))])
    assert.is((await take(source, { unwrap: true })).sha256, plain.sha256);
  const { notes, texts } = await take(await archive(under("repo-1a2b/")), { unwrap: true });
  assert.equal(notes, ["The archive's one folder, repo-1a2b/, is taken for the root"]);
  assert.equal(texts, { Procfile: "web: x" });
  const public_ = await take(await archive({ "./public/index.html": "hi" }), { unwrap: true });
  assert.is(public_.kindOf("public/index.html"), "file", "an archive that says ./ has said where its root is");
});

test(".git is left out and said so", async () => {
  const { bytes, notes } = await take(await archive({ ".git/config": "x", "a/.git": "gitdir: ..", b: "1" }));
  assert.equal(notes, [".git is left out"]);
  assert.equal(
    (await entriesOf(bytes)).map(({ name }) => name),
    ["b"],
  );
});

const facts = async (files: Files, settings = {}) => sourceFacts(await take(await archive(files)), settings);
const words = async (files: Files): Promise<string> =>
  facts(files).then(
    () => "",
    (error: Fault) => error.message,
  );

test("Git LFS pointers and submodules that were left behind are refused with what to do", async () => {
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${"a".repeat(64)}\nsize 12345\n`;
  assert.match(await words({ "logo.png": pointer }), /logo\.png is only a Git LFS pointer.*flynn deploy \./);
  assert.match(await words({ "a.png": pointer, "b.png": pointer }), /and 1 more files are only/);
  assert.is(await words({ "README.md": `${pointer.slice(0, 43)}is how a pointer begins` }), "");
  const modules = '[submodule "x"]\n\tpath = vendor/x\r\n\turl = -x\n';
  assert.match(await words({ ".gitmodules": modules, a: "" }), /vendor\/x is a git submodule/);
  assert.is(await words({ ".gitmodules": modules, "vendor/x/file": "" }), "");
});

test("the texts that say how to build are read, a Dockerfile is seen where the settings say", async () => {
  const found = await facts({ Procfile: "web: x", "app.json": "{}", "x/Procfile": "no", Dockerfile: "FROM x" });
  assert.equal(found.texts, { Procfile: "web: x", "app.json": "{}" });
  assert.ok(found.dockerfile);
  assert.not((await facts({ Dockerfile: "" }, { dockerfile: "deploy/Dockerfile" })).dockerfile);
  assert.ok((await facts({ "deploy/Dockerfile": "" }, { dockerfile: "deploy/Dockerfile" })).dockerfile);
  assert.match(
    (await refusal(await archive({ Procfile: "x".repeat(70_000) }))).message,
    /Procfile is larger than 64 KiB/,
  );
});

const part = fc.constantFrom(".", "..", "a", "b", "link", ".git", ".GIT", "", "c d", "\u200c.git", "x".repeat(260));
const path = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join("/"));
const anyEntry = fc.record({
  name: fc.oneof(
    path,
    path.map((one) => `/${one}`),
    fc.string({ maxLength: 20 }),
  ),
  type: fc.constantFrom("file", "directory", "symlink", "link", "fifo", "character-device", null),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  size: fc.constant(0),
  linkname: fc.oneof(path, fc.constant("/etc"), fc.string({ maxLength: 20 })),
});

test("whatever a tree admits, laid out with every link followed, stays inside it (2,000 random archives)", () => {
  fc.assert(
    fc.property(fc.array(anyEntry, { maxLength: 12 }), (entries) => {
      const tree = sourceTree();
      const links = new Map<string, string>();
      for (const entry of entries) {
        try {
          const admitted = tree.admit(entry);
          if (admitted === undefined) continue;
          for (const one of admitted.path.split("/"))
            assert.ok(one !== "" && one !== "." && one !== ".." && !/^\.git$/i.test(one));
          if (admitted.kind === "symlink") links.set(admitted.path, admitted.target!);
        } catch (error) {
          assert.ok(isFault(error, "invalid"), String(error));
        }
      }
      for (const link of links.keys()) assert.ok(physical(link, links), `${link} -> ${links.get(link)} leads out`);
    }),
    { numRuns: 2_000 },
  );
});

/** Walks a path as the kernel does, following links; false when it leaves the root. Loops end after 50 links, inside. */
function physical(path: string, links: ReadonlyMap<string, string>): boolean {
  let todo = path.split("/");
  const at: string[] = [];
  for (let followed = 0; todo.length > 0; ) {
    const [next = "", ...rest] = todo;
    todo = rest;
    if (next === "" || next === ".") continue;
    if (next === "..") {
      if (at.length === 0) return false;
      at.pop();
      continue;
    }
    const target = links.get([...at, next].join("/"));
    if (target === undefined) at.push(next);
    else if (target.startsWith("/")) return false;
    else if (++followed > 50) return true;
    else todo = [...target.split("/"), ...todo];
  }
  return true;
}

test("random bytes in place of any part of an archive give a refusal or a tree, never anything else", async () => {
  const sound = await archive({ Procfile: "web: x", "a/b": "1", "l -> a/b": "" });
  await fc.assert(
    fc.asyncProperty(fc.nat(sound.length - 1), fc.uint8Array({ minLength: 1, maxLength: 40 }), async (at, noise) => {
      const bytes = Buffer.from(sound);
      bytes.set(noise.subarray(0, bytes.length - at), at);
      const end = await take(bytes).catch((error: unknown) => error);
      if (isFault(end)) assert.is.not(end.code, "internal");
      else if (end instanceof Error) throw end;
    }),
    { numRuns: 150 },
  );
});

test.run();

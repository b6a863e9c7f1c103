// What an image archive may unpack to: bombs are stopped while they stream by, and nothing of them is left.
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { pack } from "tar-stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Fault, isFault } from "#api/fault.ts";
import { IMAGE_LIMITS, type ImageLimits, type TakenImage, takeImageArchive } from "../../control/registry-archive.ts";

const MIB = 1 << 20;

interface Entry {
  name: string;
  content?: Buffer;
  /** Of the header, where it is not what the content says. */
  type?: string;
  size?: number;
}

/** One ustar entry (POSIX.1-1988). */
function entry({ name, content = Buffer.alloc(0), type = "0", size = content.length }: Entry): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write("0000644\0", 100);
  header.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  header.write("00000000000\0", 136);
  header.write("        ", 148);
  header.write(type, 156);
  header.write("ustar\u000000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}
const tar = (...entries: Entry[]): Buffer => Buffer.concat([...entries.map(entry), Buffer.alloc(1024)]);
const image = (layer: Buffer): Buffer =>
  tar({ name: "manifest.json", content: Buffer.from("[]") }, { name: "layer.tar", content: layer });

async function take(
  archive: Buffer | Readable,
  over: Partial<ImageLimits> = {},
): Promise<TakenImage & { kept: Buffer }> {
  const directory = await mkdtemp(join(tmpdir(), "image-test-"));
  const file = join(directory, "image.tar");
  const sent = Buffer.isBuffer(archive) ? Readable.from(archive.length > 0 ? pieces(archive) : []) : archive;
  try {
    const limits = { ...IMAGE_LIMITS, ...over };
    const taken = await takeImageArchive(sent, { file, limits, signal: new AbortController().signal }).catch(
      async (error: unknown) => {
        assert.equal(await readdir(directory), [], "nothing is left of what was refused");
        throw error;
      },
    );
    return { ...taken, kept: await readFile(file) };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
/** Borders of chunks fall anywhere. */
function* pieces(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_521) yield bytes.subarray(at, at + 65_521);
}
const refusal = (...wish: Parameters<typeof take>): Promise<Fault> =>
  take(...wish).then(
    () => Promise.reject(new Error("was taken")),
    (error: unknown) => (isFault(error) ? error : Promise.reject(error)),
  );

const layer = tar({ name: "a", content: Buffer.alloc(3_000, 1) }, { name: "b" }, { name: "c", type: "5" });

test("an archive, packed or not, with layers packed or not, is kept as the same plain tar, and what it unpacks to is counted", async () => {
  for (const inner of [layer, gzipSync(layer), zstdCompressSync(layer)]) {
    const plain = image(inner);
    for (const sent of [plain, gzipSync(plain), zstdCompressSync(plain)]) {
      const taken = await take(sent);
      assert.ok(taken.kept.equals(plain));
      assert.equal([taken.sizeBytes, taken.entries], [sent.length, 5]);
      assert.is(taken.unpackedBytes, layer.length + 2);
    }
  }
});

test("a layer of zeros, gzipped or in zstd, is stopped by what it unpacks to and by its ratio", async () => {
  const zeros = tar({ name: "zeros", content: Buffer.alloc(40 * MIB) });
  for (const bomb of [image(gzipSync(zeros)), image(zstdCompressSync(zeros)), gzipSync(image(zeros))]) {
    const size = await refusal(bomb, { unpackedBytes: 8 * MIB });
    assert.equal([size.code, /larger than 8 MiB unpacked/.test(size.message)], ["too-large", true], size.message);
    const ratio = await refusal(bomb, { freeBytes: 8 * MIB });
    assert.match(ratio.message, /unpacks to more than 200 times what it was packed in/);
  }
  // As much of what does not pack that well is taken.
  await take(image(zeros), { freeBytes: 8 * MIB });
});

test("files of nothing without end are stopped by their number, in the archive and in a layer", async () => {
  const headers = Buffer.concat(Array.from({ length: 1_000 }, (_, n) => entry({ name: `f${n}` })));
  const many = Buffer.concat([...Array.from({ length: 100 }, () => headers), Buffer.alloc(1024)]);
  const fault = await refusal(image(gzipSync(many, { level: 1 })), { entries: 90_000 });
  assert.match(fault.message, /more than 90000 files/);
  assert.match((await refusal(many, { entries: 90_000 })).message, /more than 90000 files/);
  assert.is((await take(many)).entries, 100_000);
});

test("a layer counts as often as the image names it, by whichever manifest, and one that cannot be followed as the heaviest", async () => {
  const digest = createHash("sha256").update(layer).digest("hex");
  const times = (count: number, one: unknown) => Array.from({ length: count }, () => one);
  const docker = (layers: unknown[]) => JSON.stringify([{ Config: "c.json", Layers: layers }]);
  const oci = (layers: unknown[], key = "layers") => JSON.stringify({ schemaVersion: 2, [key]: layers });
  const name = `blobs/sha256/${digest}`;
  const all = (manifest: string, more: Entry[] = []) =>
    tar({ name, content: gzipSync(layer) }, ...more, { name: "m", content: Buffer.from(manifest) });
  const descriptor = { digest: `sha256:${digest}` };
  const cases: [string, Buffer][] = [
    ["docker save", all(docker(times(50, name)))],
    ["with a dot", all(docker(times(50, `./${name}`)))],
    ["a name that is not there", all(docker(times(50, "nowhere")))],
    ["a link", all(docker(times(50, "link")), [{ name: "link", type: "2" }])],
    ["OCI", all(oci(times(50, descriptor)))],
    ["OCI in other letters", all(oci(times(50, { DIGEST: descriptor.digest }), "LAYER\u017f"))],
    ["behind spaces", all(" ".repeat(2_000) + oci(times(50, descriptor)))],
    ["two of a name", all(docker(times(50, name)), [{ name, content: Buffer.from("small") }])],
  ];
  for (const [title, bytes] of cases) {
    const taken = await take(bytes);
    assert.is(taken.unpackedBytes, 50 * layer.length, title);
    assert.ok(taken.entries >= 150, title);
    assert.match((await refusal(bytes, { unpackedBytes: 40 * layer.length })).message, /unpacked/, title);
    assert.match((await refusal(bytes, { entries: 140 })).message, /more than 140 files/, title);
    assert.match((await refusal(bytes, { freeBytes: 10, ratio: 2 })).message, /2 times/, title);
  }
  for (const manifest of [docker(times(128, name)), oci(times(128, descriptor))])
    assert.match((await refusal(all(manifest))).message, /has 128 layers, 127 is the most/);
});

test("sparse files and sizes that are none are refused: they would unpack to more than they say", async () => {
  const sparse = async (pax: Record<string, string>) => {
    const made = pack();
    made.entry({ name: "sparse", pax }, "x");
    made.finalize();
    return buffer(Readable.from(made as AsyncIterable<Buffer>));
  };
  const cases: [Buffer, RegExp][] = [
    [await sparse({ "GNU.sparse.realsize": "1099511627776", "GNU.sparse.major": "1" }), /sparse file/],
    [tar({ name: "s", type: "S" }), /sparse files and other kinds/],
    [tar({ name: "d", type: "D" }), /sparse files and other kinds/],
    [await sparse({ size: String(2 ** 46) }), /larger than 60 GiB unpacked/],
    [await sparse({ size: "-1" }), /no sound size/],
    [tar({ name: "long", type: "x", size: 8 * MIB }), /extended header that is too long/],
  ];
  for (const [bytes, why] of cases) {
    assert.match((await refusal(image(bytes))).message, why);
    assert.match((await refusal(image(gzipSync(bytes)))).message, why);
  }
});

test("what is no archive, cut off, damaged or packed in a way that hosts do not share is refused in words", async () => {
  const plain = image(gzipSync(layer));
  const broken = Buffer.from(gzipSync(plain));
  broken[broken.length - 20]! ^= 0xff;
  const cases: [Buffer, RegExp][] = [
    [Buffer.alloc(0), /empty/],
    [Buffer.from("hello".repeat(1_000)), /not a sound `docker save` image/],
    [plain.subarray(0, 700), /cut off/],
    [gzipSync(plain).subarray(0, 200), /not soundly packed|cut off/],
    [broken, /not soundly packed|cut off|not a sound/],
    [Buffer.from("BZh91AY&SY"), /packed with bzip2: send it plain, or gzipped/],
    [image(Buffer.from("fd377a585a0000", "hex")), /a layer of the image is packed with xz/],
    [image(Buffer.concat([gzipSync(layer), Buffer.alloc(2 * MIB, 1)])), /behind the end|not soundly packed/],
    [image(Buffer.concat([zstdCompressSync(layer), zstdCompressSync(layer)])), /behind the end/],
    [Buffer.concat([zstdCompressSync(plain), zstdCompressSync(plain)]), /behind the end/],
    [gzipSync(gzipSync(plain)), /not a sound `docker save` image/],
  ];
  for (const [bytes, why] of cases) {
    const fault = await refusal(bytes);
    assert.is(fault.code, "invalid");
    assert.match(fault.message, why);
  }
  assert.match((await refusal(plain, { sentBytes: 100 })).message, /larger than 100 B, the most that is taken/);
});

test.run();

// Base images from a registry, its token service and a store it redirects to: real TLS servers on loopback, by names that only the
// check resolves.
import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { extract, pack } from "tar-stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { causeChain } from "#lib/run.ts";
import { type BaseImages, fetchBaseImages } from "../../../hostd/builds/base-images.ts";
import { FetchRefused, fetchAddress } from "../../../hostd/builds/fetch-policy.ts";
import { parseReference } from "../../../hostd/builds/image-reference.ts";
import type { Pace } from "../../../hostd/builds/pace.ts";
import { registryHttp } from "../../../hostd/builds/registry-http.ts";
import { registryImage } from "../../../hostd/builds/registry-image.ts";
import type { BuildRun } from "../../../hostd/builds/run.ts";
import { testCa } from "../fake-control.ts";

const NAMES = ["registry.test", "auth.test", "store.test", "inside.test"];
const ca = await testCa();
const identity = await ca.issue({ subject: "CN=registry", names: NAMES });
const directory = await mkdtemp(join(tmpdir(), "flynn-registry-"));
const digestOf = (body: Buffer | string) => `sha256:${createHash("sha256").update(body).digest("hex")}`;
const asked: string[] = [];
/** What the test's registry answers: by path. */
const blobs = new Map<string, Buffer>();
let manifest = Buffer.from("{}");
let redirectTo = "store.test";
/** Large bodies of the store come a byte at a time. */
let dribbles = false;

const server = createServer({ cert: identity.certificate, key: identity.key }, (req: IncomingMessage, res) => {
  const { host = "", authorization } = req.headers;
  const [name] = host.split(":");
  const path = req.url ?? "";
  asked.push(`${name} ${path.split("?")[0]}${authorization === undefined ? "" : " with a token"}`);
  const send = (status: number, body: Buffer | string, headers = {}) => res.writeHead(status, headers).end(body);
  if (name === "auth.test") return send(200, '{"token":"t1"}');
  if (name !== "registry.test") {
    const body = blobs.get(path.slice(1));
    if (dribbles && (body?.length ?? 0) > 50_000) {
      const dribble = setInterval(() => res.write(" "), 5);
      return void res.once("close", () => clearInterval(dribble));
    }
    return body === undefined ? send(404, "") : send(200, body);
  }
  if (authorization !== "Bearer t1")
    return send(401, "", { "www-authenticate": `Bearer realm="https://auth.test:${port}/token",service="r"` });
  const blob = /\/blobs\/(.*)$/.exec(path)?.[1];
  if (blob !== undefined) return send(307, "", { location: `https://${redirectTo}:${port}/${blob}` });
  return send(200, manifest);
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const { port } = server.address() as AddressInfo;
for (const name of NAMES) {
  await mkdir(join(directory, `${name}:${port}`));
  await writeFile(join(directory, `${name}:${port}`, "ca.crt"), ca.caPem);
}
test.after(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(directory, { recursive: true, force: true });
});

interface File {
  size: number;
  pax?: Record<string, string>;
}
const tar = (...files: File[]): Promise<Buffer> => {
  const made = pack();
  for (const { size, pax } of files)
    made.entry({ name: "f", ...(pax === undefined ? {} : { pax }) }, Buffer.alloc(size));
  made.finalize();
  return buffer(made as AsyncIterable<Buffer>);
};
const small = gzipSync(await tar({ size: 10 }));

function image(layers: Buffer[], over: { size?: number; digest?: string } = {}): void {
  blobs.clear();
  const config = Buffer.from('{"architecture":"amd64"}');
  blobs.set(digestOf(config), config);
  for (const layer of layers) blobs.set(digestOf(layer), layer);
  const mediaType = "application/vnd.oci.image.layer.v1.tar+gzip";
  const described = layers.map((layer) => ({ mediaType, digest: digestOf(layer), size: layer.length, ...over }));
  if (over.digest !== undefined) blobs.set(over.digest, layers[0]!);
  manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: digestOf(config), size: config.length },
      layers: described,
    }),
  );
}

/** The cluster's own addresses as the rule has them, but that the test's names are on loopback: looked up as public ones. */
const connectTo = new Map(NAMES.map((name) => [name, name === "inside.test" ? "10.77.0.1" : "93.184.216.34"]));
async function fetch(
  reference = `registry.test:${port}/library/app:1`,
  mostBytes = 1 << 20,
  pace?: Pace,
): Promise<string[]> {
  asked.length = 0;
  const policy = { registry: "10.77.0.1:5000", clusterRange: "100.64.0.0/16", peers: [] };
  const http = registryHttp({
    certsDir: directory,
    addressOf: async (host) => {
      await fetchAddress(host, policy, async (name) => [connectTo.get(name) ?? name]);
      return "127.0.0.1";
    },
  });
  const archive = await registryImage({
    ...{ http, reference: parseReference(reference)!, as: "base.invalid/x:latest" },
    ...{ architecture: "amd64", mostBytes, signal: AbortSignal.timeout(20_000) },
    ...(pace === undefined ? {} : { pace }),
  });
  const names: string[] = [];
  const reader = extract();
  archive.on("error", (error) => reader.destroy(error));
  archive.pipe(reader);
  for await (const entry of reader) {
    names.push(entry.header.name);
    const body = await buffer(entry);
    if (entry.header.name === "manifest.json") names.push(JSON.parse(body.toString("utf8"))[0].RepoTags[0]);
  }
  return names;
}
const refusal = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => assert.unreachable(),
    (error: unknown) => error,
  );

/** A build's base image, with `here` as what Docker has of it; returns what was loaded and said. */
async function based(
  reference: string,
  here: string | undefined,
  bases: BaseImages,
): Promise<{ loaded: number; removed: string[]; said: string[] }> {
  const found = { loaded: 0, removed: [] as string[], said: [] as string[] };
  const facts = { id: here ?? "sha256:new", user: "", env: {}, labels: {}, onBuild: [], sizeBytes: 1 };
  const engine = {
    inspectImage: async () => (here === undefined && found.loaded === 0 ? undefined : facts),
    async loadImage(archive: AsyncIterable<Buffer>) {
      for await (const _ of archive);
      found.loaded++;
    },
    removeImage: async (id: string) => void found.removed.push(id),
  };
  const parts = { engine, certsDir: directory, freeBytes: async () => 2 ** 40, clusterAddresses: () => [] };
  const run = {
    ...{ parts, build: {}, signal: new AbortController().signal, onProgress: () => undefined },
    target: { registry: "10.77.0.1:5000", clusterRange: "100.64.0.0/16", peers: [] },
    say: (line: string) => void found.said.push(line),
  };
  const images = [{ reference: parseReference(reference)!, line: 1 }];
  const http = (options: Parameters<typeof registryHttp>[0]) =>
    registryHttp({ ...options, addressOf: async () => "127.0.0.1" });
  await fetchBaseImages({ images }, run as unknown as BuildRun, { ...bases, http });
  return found;
}

test("a base image that is here is compared with its registry's: the same is taken, another replaces it, and not at each build", async () => {
  const name = `registry.test:${port}/library/app:1`;
  image([small]);
  const id = (JSON.parse(manifest.toString("utf8")) as { config: { digest: string } }).config.digest;
  const checked = new Map<string, number>();
  assert.equal(await based(name, id, { checked }), { loaded: 0, removed: [], said: [] });
  asked.length = 0;
  assert.equal(await based(name, "sha256:old", { checked }), { loaded: 0, removed: [], said: [] });
  assert.equal(asked, [], "asked a moment ago");
  assert.equal(await based(name, "sha256:old", { checked, freshMs: 0 }), {
    loaded: 1,
    removed: ["sha256:old"],
    said: [],
  });
  asked.length = 0;
  const exact = `registry.test:${port}/library/app@${digestOf(manifest)}`;
  assert.equal(await based(exact, "sha256:any", { checked: new Map() }), { loaded: 0, removed: [], said: [] });
  assert.equal(asked, [], "a digest names one image for ever");
});

test("a base image is looked for again once it was a quarter of an hour ago", async () => {
  const name = `registry.test:${port}/library/app:1`;
  image([small]);
  const before = new Map<string, number>();
  await based(name, undefined, { checked: before });
  const [local] = before.keys();
  for (const [minutes, isAsked] of [
    [10, false],
    [15, true],
  ] as const) {
    asked.length = 0;
    await based(name, "sha256:old", { checked: new Map([[local!, performance.now() - minutes * 60_000]]) });
    assert.is(asked.length > 0, isAsked, `after ${minutes} min`);
  }
});

test("while the registry has no answer the image of before is used, and the build says so", async () => {
  manifest = Buffer.from("nothing");
  const found = await based(`registry.test:${port}/library/app:1`, "sha256:old", { checked: new Map() });
  assert.is(found.loaded, 0);
  assert.match(found.said.join(), /^FROM registry.test:\d+\/library\/app:1: the image of before is used, since /);
  image([small]);
});

test("an image comes with a token, by way of a redirect, which does not get the token", async () => {
  const layer = gzipSync(await tar({ size: 10_000 }));
  image([layer]);
  const names = await fetch();
  assert.is(names.at(-1), "base.invalid/x:latest");
  assert.ok(names.includes(`${digestOf(layer).slice(7)}.tar`));
  assert.ok(asked.includes("registry.test /v2/library/app/manifests/1 with a token"));
  assert.ok(asked.includes(`store.test /${digestOf(layer)}`));
});

test("a redirect into the cluster is refused before a byte is sent there, and so are a token service and a registry", async () => {
  image([small]);
  redirectTo = "inside.test";
  try {
    const error = await refusal(fetch());
    assert.match(causeChain(error).join(": "), /inside.test: 10.77.0.1 is inside the cluster/);
    assert.not.ok(asked.some((line) => line.startsWith("inside.test")));
  } finally {
    redirectTo = "store.test";
  }
  connectTo.set("auth.test", "169.254.169.254");
  try {
    assert.match(causeChain(await refusal(fetch())).join(": "), /169.254.169.254 is .*link-local/);
  } finally {
    connectTo.set("auth.test", "93.184.216.34");
  }
  assert.instance(await refusal(fetch(`inside.test:${port}/x:1`)), FetchRefused);
});

test("a layer that is not what its manifest says is refused", async () => {
  image([small], { digest: `sha256:${"0".repeat(64)}` });
  assert.match(String(await refusal(fetch())), /not what its digest says/);
  image([small], { size: 5 });
  assert.match(String(await refusal(fetch())), /longer than its manifest says/);
});

test("a small archive that unpacks to more than there may be is refused, also when it is packed otherwise than said", async () => {
  image([gzipSync(await tar({ size: 3 << 20 }))]);
  assert.match(String(await refusal(fetch())), /is larger than 1 MiB/);
  image([Buffer.from("fd377a585a000000", "hex")]);
  assert.match(String(await refusal(fetch())), /packed with xz/);
});

test("layers are plain or gzipped tar archives by their bytes, and each is looked through as Docker unpacks it", async () => {
  const skippable = Buffer.from("502a4d180400000041414141", "hex");
  const sparse = await tar({ size: 10, pax: { "GNU.sparse.major": "1", "GNU.sparse.realsize": String(2 ** 40) } });
  const files = await tar(...Array.from({ length: 400 }, () => ({ size: 1 })));
  const cases: [Buffer, RegExp][] = [
    [zstdCompressSync(small), /packed with zstd/],
    [Buffer.concat([skippable, zstdCompressSync(await tar({ size: 3 << 20 }))]), /packed with zstd/],
    [Buffer.from("BZh91AY&SY"), /packed with bzip2/],
    [Buffer.from("hello".repeat(1_000)), /no sound tar archive/],
    [Buffer.from("hello"), /cut off/],
    [Buffer.alloc(0), /is empty/],
    [sparse, /sparse file/],
    [gzipSync(sparse), /sparse file/],
    [gzipSync(gzipSync(sparse)), /no sound tar archive|cut off/],
    [Buffer.concat([small, Buffer.alloc(64)]), /behind the end/],
    [Buffer.concat([small, gzipSync(Buffer.alloc(3 << 20))]), /behind the end|larger than 1 MiB/],
    // A file takes a block of the disk, however short.
    [gzipSync(files), /larger than 1 MiB/],
  ];
  for (const [layer, why] of cases) {
    image([layer]);
    assert.match(String(await refusal(fetch())), why);
  }
  image([await tar({ size: 10 }), small, gzipSync(Buffer.alloc(1024)), Buffer.alloc(1024)]);
  assert.is((await fetch()).length, 7);
});

test("a layer counts as often as the image names it, and an image has no more layers than Docker takes", async () => {
  const layer = gzipSync(await tar({ size: 100 << 10 }));
  image(Array<Buffer>(9).fill(layer));
  assert.is((await fetch()).length, 4);
  image(Array<Buffer>(12).fill(layer));
  assert.match(String(await refusal(fetch())), /larger than 1 MiB/);
  image(Array<Buffer>(128).fill(small));
  assert.match(String(await refusal(fetch())), /128 layers/);
});

test("a registry that sends a byte now and then is given up, though it is never silent", async () => {
  image([gzipSync(randomBytes(64 << 10))]);
  dribbles = true;
  try {
    const slow = refusal(fetch(undefined, 1 << 20, { leastBytesPerSecond: 1 << 20, graceMs: 200 }));
    assert.match(String(await slow), /sends less than 1 MiB a second/);
  } finally {
    dribbles = false;
  }
});

test("an image named by its digest is held to it", async () => {
  image([small]);
  const wanted = digestOf(manifest);
  assert.ok((await fetch(`registry.test:${port}/library/app@${wanted}`)).length > 2);
  const other = `registry.test:${port}/library/app@sha256:${"1".repeat(64)}`;
  assert.match(String(await refusal(fetch(other))), /not what its digest says/);
});

test.run();

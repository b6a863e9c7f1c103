// time limit: 120 s
// Uploads into a real registry (docker-registry, skopeo): sound images get in, broken ones leave nothing, memory stays flat.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp } from "#api/apps.ts";
import { createArtifact, getArtifact } from "#api/artifacts.ts";
import { type Fault, isFault } from "#api/fault.ts";
import { exec, stopChild } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import { openAuthority } from "../../../control/identity/authority.ts";
import { PREFIX } from "../../../control/keys.ts";
import { type Registry, registry } from "../../../control/registry.ts";
import { freePort } from "../../lib/free-port.ts";
import { type Rig, withRig } from "../rig.ts";

/** One ustar entry (POSIX.1-1988): header and padded content. */
function entry(name: string, content: Buffer): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write("0000644\0", 100);
  header.write("0000000\0", 108);
  header.write("0000000\0", 116);
  header.write(`${content.length.toString(8).padStart(11, "0")}\0`, 124);
  header.write("00000000000\0", 136);
  header.write("        ", 148);
  header.write("0", 156);
  header.write("ustar\u000000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

/** What `docker save` writes for an image of one layer. */
function dockerArchive(architecture = "amd64", command = "/hello"): Buffer {
  const layer = Buffer.concat([entry("hello.txt", Buffer.from("hello")), Buffer.alloc(1024)]);
  const sha256 = (data: Buffer) => createHash("sha256").update(data).digest("hex");
  const rootfs = { type: "layers", diff_ids: [`sha256:${sha256(layer)}`] };
  const config = Buffer.from(JSON.stringify({ architecture, os: "linux", config: { Cmd: [command] }, rootfs }));
  const manifest = [{ Config: `${sha256(config)}.json`, RepoTags: ["hello:1"], Layers: ["layer.tar"] }];
  return Buffer.concat([
    entry(`${sha256(config)}.json`, config),
    entry("layer.tar", layer),
    entry("manifest.json", Buffer.from(JSON.stringify(manifest))),
    Buffer.alloc(1024),
  ]);
}

async function withRegistry(
  body: (rig: Rig, uploads: () => Promise<string[]>, its: { images: Registry; data: string }) => Promise<void>,
  { restMs, preferred }: { restMs?: number; preferred?: () => readonly string[] } = {},
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "registry-test-"));
  let child: ChildProcess | undefined;
  try {
    const authority = await openAuthority(join(directory, "ca"));
    const identity = await authority.issueControl(["127.0.0.1"]);
    const at = (name: string) => join(directory, name);
    await writeFile(at("ca.pem"), authority.caPem);
    await writeFile(at("crt.pem"), identity.certificate);
    await writeFile(at("key.pem"), identity.key);
    const address = `127.0.0.1:${await freePort()}`;
    const tls = { certificate: at("crt.pem"), key: at("key.pem"), clientcas: [at("ca.pem")] };
    const settings = {
      version: "0.1",
      storage: { filesystem: { rootdirectory: at("data") }, delete: { enabled: true } },
      http: { addr: address, tls },
    };
    await writeFile(at("registry.yml"), JSON.stringify(settings));
    child = spawn("docker-registry", ["serve", at("registry.yml")], { stdio: "ignore" });
    const images: Registry = await registry({
      address,
      directory: at("client"),
      identity,
      caPem: authority.caPem,
      layersDirectory: at("data"),
      restMs,
      preferred,
    });
    assert.match(String(await images.problem()), /does not answer|undefined/);
    await until(async () => (await images.problem()) === undefined, {
      what: "the registry to answer",
      timeoutMs: 10_000,
    });
    await withRig(
      async (rig) => {
        await rig.admin.call(createApp, { body: { name: "hello" } });
        await body(rig, () => readdir(at("client/uploads")), { images, data: at("data") });
      },
      { images, loops: false },
    );
  } finally {
    if (child) await stopChild(child);
    await rm(directory, { recursive: true, force: true });
  }
}

const upload = (rig: Rig, archive: Readable, signal?: AbortSignal) =>
  rig.admin.call(createArtifact, { query: { app: "hello" }, upload: archive, timeoutMs: 60_000, signal });
const storeOther = (rig: Rig) => upload(rig, Readable.from([dockerArchive("amd64", "/other")]));
const refusal = async (work: Promise<unknown>): Promise<Fault> => {
  const error = await work.then(
    () => new Error("was taken"),
    (cause: unknown) => cause,
  );
  if (!isFault(error)) throw error;
  return error;
};

test("a sound archive becomes an artifact by digest; what is no image is refused and leaves no file behind", () =>
  withRegistry(async (rig, uploads) => {
    const sound = dockerArchive();
    const artifact = await upload(rig, Readable.from([sound]));
    assert.match(artifact.digest, /^sha256:[0-9a-f]{64}$/);
    assert.is(artifact.sizeBytes, sound.length);
    assert.is(artifact.architecture, "amd64");
    assert.equal(await rig.admin.call(getArtifact, { params: { id: artifact.id } }), artifact);
    assert.is((await upload(rig, Readable.from([sound]))).digest, artifact.digest);

    const cases: [string, Buffer, RegExp][] = [
      ["truncated", sound.subarray(0, 1_200), /not a sound `docker save` image/],
      ["no tar", Buffer.from("hello".repeat(1000)), /not a sound `docker save` image/],
      ["nothing", Buffer.alloc(0), /empty/],
      [
        "another architecture",
        dockerArchive("s390x"),
        /the image is for linux\/s390x, hosts are linux\/amd64 or linux\/arm64/,
      ],
    ];
    for (const [what, archive, why] of cases) {
      const fault = await refusal(upload(rig, Readable.from(archive.length ? [archive] : [])));
      assert.is(fault.code, "invalid", `${what}: ${fault.message}`);
      assert.match(fault.message, why, what);
      assert.equal(await uploads(), [], what);
    }
    const nowhere = rig.admin.call(createArtifact, { query: { app: "nobody" }, upload: Readable.from([sound]) });
    assert.is((await refusal(nowhere)).code, "not-found");
    assert.is(rig.store.count(PREFIX.artifacts), 2);
  }));

test("an OCI layout, packed as a whole or not, is the same image, and is unpacked in the state directory alone", () =>
  withRegistry(async (rig, uploads) => {
    const directory = await mkdtemp(join(tmpdir(), "oci-test-"));
    const [docker, oci] = [join(directory, "docker.tar"), join(directory, "oci.tar")];
    const before = await readdir("/var/tmp");
    try {
      await writeFile(docker, dockerArchive());
      await exec(["skopeo", "--tmpdir", directory, "copy", `docker-archive:${docker}`, `oci-archive:${oci}`]);
      const plain = await readFile(oci);
      const { digest } = await upload(rig, Readable.from([plain]));
      assert.is((await upload(rig, Readable.from([gzipSync(plain)]))).digest, digest);
      assert.equal(await uploads(), []);
      assert.equal(await readdir("/var/tmp"), before);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }));

/** An OCI archive with an image for each of these, as `docker buildx` writes one. */
async function indexFor(directory: string, architectures: readonly string[]): Promise<Buffer> {
  const layout = join(directory, `layout-${architectures.join("-")}`);
  const manifests: object[] = [];
  for (const architecture of architectures) {
    const docker = join(directory, `${architecture}.tar`);
    await writeFile(docker, dockerArchive(architecture));
    const target = `oci:${layout}:${architecture}`;
    await exec(["skopeo", "--tmpdir", directory, "copy", `docker-archive:${docker}`, target]);
  }
  const top = JSON.parse(await readFile(join(layout, "index.json"), "utf8")) as { manifests: object[] };
  for (const [n, architecture] of architectures.entries())
    manifests.push({ ...top.manifests[n], annotations: undefined, platform: { os: "linux", architecture } });
  const mediaType = "application/vnd.oci.image.index.v1+json";
  const index = JSON.stringify({ schemaVersion: 2, mediaType, manifests });
  const digest = createHash("sha256").update(index).digest("hex");
  await writeFile(join(layout, "blobs/sha256", digest), index);
  const only = { mediaType, digest: `sha256:${digest}`, size: Buffer.byteLength(index) };
  await writeFile(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [only] }));
  const file = `${layout}.tar`;
  const names = ["oci-layout", "index.json", "blobs"];
  await exec(["tar", "--create", "--file", file, "--directory", layout, ...names]);
  return await readFile(file);
}

test("of an archive with images for several processors the one for the hosts there are is taken, else one that there is", () => {
  let hosts: string[] = [];
  return withRegistry(
    async (rig) => {
      const directory = await mkdtemp(join(tmpdir(), "index-test-"));
      try {
        const both = await indexFor(directory, ["amd64", "arm64"]);
        const arm = await indexFor(directory, ["arm64"]);
        const taken = async (archive: Buffer) => (await upload(rig, Readable.from([archive]))).architecture;
        const own = process.arch === "arm64" ? "arm64" : "amd64";
        assert.is(await taken(both), own, "no host yet: as this machine");
        for (hosts of [["arm64", "amd64"], ["amd64", "arm64"], ["arm64"], ["amd64"]])
          assert.is(await taken(both), hosts[0], hosts.join());
        assert.is(await taken(arm), "arm64", "it has no other");
        const neither = await indexFor(directory, ["s390x", "ppc64le"]);
        const fault = await refusal(upload(rig, Readable.from([neither])));
        assert.is(fault.code, "invalid");
        assert.match(fault.message, /^the archive has no image for linux\/amd64 or linux\/arm64$/);
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
    },
    { preferred: () => hosts },
  );
});

test("an image beyond what the app's may be is refused, and its words reach a client that is still sending", () =>
  withRegistry(async (rig, uploads) => {
    rig.config.appImageBytes = 1 << 20;
    const endless = Readable.from(
      (async function* () {
        for (;;) yield Buffer.alloc(1 << 16);
      })(),
    );
    const fault = await refusal(upload(rig, endless));
    assert.is(fault.code, "too-large", fault.message);
    assert.match(fault.message, /^the images of hello may be 1 MiB together and are 0 B: this one is too much/);
    assert.equal(await uploads(), []);
    await upload(rig, Readable.from([dockerArchive()]));
  }));

test("uploads at once share what is left: together they are no more than the app's images may be", () =>
  withRegistry(async (rig) => {
    const archive = dockerArchive();
    rig.config.appImageBytes = archive.length * 2;
    const work = Array.from({ length: 5 }, (_, n) =>
      upload(rig, Readable.from([dockerArchive("amd64", `/${n}`)])).then(
        () => "taken",
        (error: Fault) => error.code,
      ),
    );
    const ended = await Promise.all(work);
    const taken = ended.filter((one) => one === "taken").length;
    assert.ok(taken <= 2, `${taken} were taken`);
    assert.ok(
      ended.every((one) => one === "taken" || one === "too-large"),
      ended.join(),
    );
    assert.is(rig.store.count(PREFIX.artifacts), taken);
    // What was refused holds no room.
    for (let n = taken; n < 2; n++) await upload(rig, Readable.from([dockerArchive("amd64", `/again${n}`)]));
    assert.is((await refusal(upload(rig, Readable.from([archive])))).code, "too-large");
  }));

test("a client that goes away in the middle leaves no file", () =>
  withRegistry(async (rig, uploads) => {
    const gone = new AbortController();
    const endless = Readable.from(
      (async function* () {
        while (!gone.signal.aborted) {
          yield Buffer.alloc(65_536);
          await new Promise((resolve) => setImmediate(resolve));
        }
      })(),
    );
    const work = upload(rig, endless, gone.signal).catch(() => undefined);
    await until(async () => (await uploads()).length === 1, {
      what: "an upload to begin",
      timeoutMs: 10_000,
      everyMs: 5,
    });
    gone.abort();
    await work;
    await until(async () => (await uploads()).length === 0, { what: "the file to be gone", timeoutMs: 10_000 });
    assert.is(rig.store.count(PREFIX.artifacts), 0);
  }));

test("300 MB go through without staying in memory", () =>
  withRegistry(async (rig, uploads) => {
    const chunk = Buffer.alloc(1 << 20);
    let mostBytes = 0;
    const before = process.memoryUsage.rss();
    const big = Readable.from(
      (async function* () {
        for (let n = 0; n < 300; n++) {
          mostBytes = Math.max(mostBytes, process.memoryUsage.rss());
          yield chunk;
        }
      })(),
    );
    assert.is((await refusal(upload(rig, big))).code, "invalid"); // zeros are no image
    assert.equal(await uploads(), []);
    // Client and server share this process; both buffer a little.
    assert.ok(mostBytes - before < 150 << 20, `grew by ${(mostBytes - before) >> 20} MiB`);
  }));

test("a removed image is gone with its layers, one that shares them stays whole, and one that just came in is left alone", () =>
  withRegistry(
    async (rig, _, { images, data }) => {
      const signal = AbortSignal.timeout(60_000);
      const [gone, stays] = [await upload(rig, Readable.from([dockerArchive()])), await storeOther(rig)];
      assert.not.equal(gone.digest, stays.digest);
      const blobs = async () =>
        (await readdir(join(data, "docker/registry/v2/blobs/sha256"), { recursive: true })).filter((name) =>
          name.endsWith("data"),
        ).length;
      const before = await blobs();
      assert.is(before, 5, "two manifests, two configs, one layer");
      assert.is(await images.remove(gone.repository, gone.digest, signal), true);
      assert.is(await images.remove(gone.repository, gone.digest, signal), true, "what is gone already is gone");
      assert.is(await blobs(), before, "layers stay until they are collected");
      assert.is(await images.collect(signal), true);
      assert.is(await blobs(), 3, "the shared layer stays with the image that uses it");
      const again = await upload(rig, Readable.from([dockerArchive()]));
      assert.is(again.digest, gone.digest, "and it can come back");
      assert.is(await blobs(), 5);
    },
    { restMs: 0 },
  ));

test("an image that came in lately is not removed: its artifact may not be on record yet", () =>
  withRegistry(async (rig, _, { images }) => {
    const { repository, digest } = await upload(rig, Readable.from([dockerArchive()]));
    assert.is(await images.remove(repository, digest, AbortSignal.timeout(10_000)), false);
  }));

test.run();

// time limit: 120 s
// A layer laid on an image in a real registry: skopeo reads the result as an image of all layers, and every blob is what its digest
// says. And an OCI layout is taken like a `docker save` archive.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gunzipSync } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Fault, isFault } from "#api/fault.ts";
import { exec, stopChild } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import { takeSlug } from "../../control/builds/slug.ts";
import { openAuthority } from "../../control/identity/authority.ts";
import { type OwnRegistry, registry } from "../../control/registry.ts";
import { freePort } from "../lib/free-port.ts";
import { archive, runnerArchive, slugOf } from "./builds/world.ts";

const sha256 = (data: Buffer) => createHash("sha256").update(data).digest("hex");
const forever = new AbortController().signal;

interface Place {
  images: OwnRegistry;
  directory: string;
  /** Fetches an image into an OCI layout and gives the place of its blobs. */
  fetch(repository: string, digest: string): Promise<{ manifest: Manifest; blob(digest: string): Promise<Buffer> }>;
}
interface Manifest {
  mediaType: string;
  config: { digest: string };
  layers: { digest: string; size: number; mediaType: string }[];
}

async function withRegistry(body: (place: Place) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "registry-layer-"));
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
    const storage = { filesystem: { rootdirectory: at("data") } };
    await writeFile(at("registry.yml"), JSON.stringify({ version: "0.1", storage, http: { addr: address, tls } }));
    child = spawn("docker-registry", ["serve", at("registry.yml")], { stdio: "ignore" });
    const images = await registry({ address, directory: at("client"), identity, caPem: authority.caPem });
    await until(async () => (await images.problem()) === undefined, { what: "the registry", timeoutMs: 10_000 });
    let fetched = 0;
    await body({
      images,
      directory,
      async fetch(repository, digest) {
        const layout = at(`fetched-${++fetched}`);
        await mkdir(layout);
        const source = `docker://${address}/${repository}@${digest}`;
        await exec(["skopeo", "copy", "--src-cert-dir", at("client/certs"), source, `dir:${layout}`]);
        return {
          manifest: JSON.parse(await readFile(join(layout, "manifest.json"), "utf8")) as Manifest,
          blob: (one) => readFile(join(layout, one.replace("sha256:", ""))),
        };
      },
    });
  } finally {
    if (child) await stopChild(child);
    await rm(directory, { recursive: true, force: true });
  }
}

test("the slug becomes the image's last layer: base layers mounted, config extended, the same wish the same digest", () =>
  withRegistry(async ({ images, directory, fetch }) => {
    const base = {
      repository: "stack/runner",
      ...(await images.push(Readable.from([await runnerArchive()]), "stack/runner", forever)),
    };
    const file = join(directory, "slug.tar.gz");
    const slug = await slugOf({ "app/": "", "app/server.js": "console.log(1)" });
    const layer = { file, ...(await takeSlug(Readable.from([slug]), { file, signal: forever })) };
    assert.is(layer.diffId, `sha256:${sha256(gunzipSync(slug))}`);
    const wish = { base, layer, repository: "apps/app-1", tag: "build-1", createdAt: "2026-01-01T00:00:00.000Z" };
    const image = await images.layOn(wish, forever);
    assert.equal(await images.layOn(wish, forever), image, "done again after a crash it is the same image");
    assert.is(image.architecture, "amd64");

    const { manifest, blob } = await fetch("apps/app-1", image.digest);
    const before = await fetch("stack/runner", base.digest);
    assert.equal(manifest.layers.slice(0, -1), before.manifest.layers);
    assert.is(manifest.layers.at(-1)!.digest, `sha256:${sha256(slug)}`);
    const config = JSON.parse((await blob(manifest.config.digest)).toString()) as {
      config: { Entrypoint: string[]; User: string; Env: string[] };
      rootfs: { diff_ids: string[] };
      history: { created_by: string }[];
    };
    for (const [n, { digest }] of manifest.layers.entries())
      assert.is(`sha256:${sha256(gunzipSync(await blob(digest)))}`, config.rootfs.diff_ids[n], `layer ${n}`);
    assert.equal(config.config, { Entrypoint: ["/flynn/start"], User: "app", Env: ["PATH=/usr/bin", "HOME=/app"] });
    assert.is(config.history.length, config.rootfs.diff_ids.length);
  }));

test("a base that is not there, and a registry that is away, are told apart: the first is final, the second may pass", () =>
  withRegistry(async ({ images, directory }) => {
    const file = join(directory, "slug.tar.gz");
    const layer = { file, ...(await takeSlug(Readable.from([await slugOf()]), { file, signal: forever })) };
    const base = { repository: "stack/runner", digest: `sha256:${"0".repeat(64)}` };
    const wish = { base, layer, repository: "apps/app-1", tag: "build-1", createdAt: "2026-01-01T00:00:00.000Z" };
    const refused = await images.layOn(wish, forever).catch((error: unknown) => error);
    assert.ok(isFault(refused, "invalid"), String(refused));
    const authority = await openAuthority(join(directory, "ca"));
    const identity = await authority.issueControl(["127.0.0.1"]);
    const address = `127.0.0.1:${await freePort()}`;
    const away = await registry({ address, directory: join(directory, "away"), identity, caPem: authority.caPem });
    const fault = (await away.layOn(wish, forever).catch((error: unknown) => error)) as Fault;
    assert.equal([fault.code, fault.retry], ["unavailable", true]);
  }));

test("an OCI layout as tar is stored like a `docker save` archive; a tar that is neither is refused", () =>
  withRegistry(async ({ images, directory, fetch }) => {
    const saved = join(directory, "saved.tar");
    const oci = join(directory, "oci.tar");
    await writeFile(saved, await runnerArchive());
    await exec(["skopeo", "copy", `docker-archive:${saved}`, `oci-archive:${oci}`]);
    const stored = await images.push(Readable.from([await readFile(oci)]), "apps/app-2", forever);
    assert.is((await fetch("apps/app-2", stored.digest)).manifest.layers.length, 1);
    const neither = await images
      .push(Readable.from([await archive({ a: "1" })]), "apps/app-2", forever)
      .catch((error: unknown) => error);
    assert.ok(isFault(neither, "invalid"));
    assert.match((neither as Fault).message, /not a sound `docker save` image/);
  }));

test.run();

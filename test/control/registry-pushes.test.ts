// time limit: 120 s
// What a build's host may store in the registry, with a real registry behind and skopeo as the client that Docker is elsewhere: layers
// that are there are not sent again, nothing goes anywhere but under the build's own name, and every layer is looked through.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import { type ExecError, exec, stopChild } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import type { BuildRecord } from "../../control/builds/record.ts";
import { openAuthority } from "../../control/identity/authority.ts";
import { keys } from "../../control/keys.ts";
import { pushRights } from "../../control/push-rights.ts";
import { registry } from "../../control/registry.ts";
import { IMAGE_LIMITS } from "../../control/registry-archive.ts";
import { registryPulls } from "../../control/registry-pulls.ts";
import { type RegistryPushes, registryPushes } from "../../control/registry-pushes.ts";
import { readManifest, writeOf } from "../../control/registry-writes.ts";
import { freePort } from "../lib/free-port.ts";
import { archive } from "./builds/world.ts";
import { type FakeHost, type Rig, withRig } from "./rig.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;
const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

interface World {
  rig: Rig;
  host: FakeHost;
  /** Steps of pushes as they came: `upload` with bytes, `mounted`, `manifest`. */
  seen: string[];
  /** A Dockerfile's build of the app on this host. */
  build(app: string, on?: FakeHost): Promise<BuildRecord>;
  push(image: Buffer, to: string): Promise<void>;
  record(build: BuildRecord): BuildRecord;
  collect(): Promise<boolean>;
}

async function withWorld(body: (world: World) => Promise<void>): Promise<void> {
  await withRig(async (rig) => {
    const authority = await openAuthority(join(rig.directory, "ca"));
    const identity = await authority.issueControl(["127.0.0.1"]);
    const { caPem } = authority;
    const at = (...names: string[]) => join(rig.directory, ...names);
    const host = await rig.host();
    await mkdir(at("certs"));
    const files = { "own.crt": identity.certificate, "own.key": identity.key, "ca.pem": caPem };
    const shown = { "certs/ca.crt": caPem, "certs/client.key": host.key, "certs/client.cert": host.certificate };
    for (const [name, content] of Object.entries({ ...files, ...shown })) await writeFile(at(name), content);
    const address = `127.0.0.1:${await freePort()}`;
    const tls = { certificate: at("own.crt"), key: at("own.key"), clientcas: [at("ca.pem")] };
    const storage = { filesystem: { rootdirectory: at("layers") }, delete: { enabled: true } };
    await writeFile(at("registry.yml"), JSON.stringify({ version: "0.1", storage, http: { addr: address, tls } }));
    const child = spawn("docker-registry", ["serve", at("registry.yml")], { stdio: "ignore" });
    const { context } = rig.control;
    const images = await registry({ address, directory: at("client"), layersDirectory: at("layers"), identity, caPem });
    const options = { ...context, upstream: address, identity, caPem, images, rights: pushRights(rig.store) };
    const pushes = registryPushes({ ...options, limits: { ...IMAGE_LIMITS, freeBytes: 1 << 20 } });
    const seen: string[] = [];
    const counted: RegistryPushes = {
      ...pushes,
      async answer(hostId, write, req, res) {
        let bytes = 0;
        req.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
        });
        req.pause();
        await pushes.answer(hostId, write, req, res);
        if (write.type === "begin") seen.push(res.statusCode === 201 ? "mounted" : "begun");
        else if (bytes > 0) seen.push(write.type === "upload" ? `sent ${bytes}` : write.type);
      },
    };
    const pulls = registryPulls({ ...context, upstream: address, identity, caPem, pushes: counted, log: silentLog() });
    try {
      await until(async () => (await images.problem()) === undefined, { what: "the registry", timeoutMs: 10_000 });
      const port = await pulls.listen("127.0.0.1", 0);
      let made = 0;
      await body({
        rig,
        host,
        seen,
        async build(app, on = host) {
          const { id: appId } = await rig.admin.call(createApp, { body: { name: app } });
          const [id, jobId] = [`build-${++made}`, `job-b${made}`];
          const build = {
            ...{ id, appId, app, number: 1, state: "building", reason: "", kind: "dockerfile", jobId, hostId: on.id },
            ...{ attempt: 1, source: { type: "git", sha256: "", sizeBytes: 1 }, createdBy: "me", createdAt: "" },
          } as unknown as BuildRecord;
          const need = { cpuMillis: 1, memoryBytes: 1, diskBytes: 0 };
          const job = {
            ...{ id: jobId, appId, app, hostId: on.id, state: "up", desired: "run", reason: "", restarts: 0 },
            ...{ releaseId: "none", version: 0, process: "build", need, tags: {}, createdAt: new Date().toISOString() },
            task: { kind: "build", attach: false, tty: false, createdBy: "me" },
          };
          await rig.store.commit({
            actor: "test",
            mutations: [
              { key: keys.build(appId, id), value: build },
              { key: keys.buildPlan(appId, id), value: { settings: {}, buildpacks: [] } },
              { key: keys.job(appId, jobId), value: job as unknown as Job },
            ],
          });
          return build;
        },
        async push(image, to) {
          const file = at(`${sha256(image)}.tar`);
          await writeFile(file, image);
          const target = `docker://127.0.0.1:${port}/${to}`;
          const own = ["--dest-cert-dir", at("certs"), "--dest-precompute-digests"];
          await exec([
            "skopeo",
            "--tmpdir",
            rig.directory,
            "copy",
            "--retry-times",
            "0",
            ...own,
            `docker-archive:${file}`,
            target,
          ]);
        },
        record: ({ appId, id }) => rig.store.get<BuildRecord>(keys.build(appId, id))!.value,
        collect: () => images.collect(new AbortController().signal),
      });
    } finally {
      await pulls.close();
      await stopChild(child);
    }
  });
}

/** What `docker save` writes for an image of these layers, each a file of that content. */
async function imageOf(contents: readonly Buffer[], architecture = "amd64"): Promise<Buffer> {
  const layers = await Promise.all(contents.map((content, n) => archive({ [`file${n}`]: content })));
  const diffIds = layers.map((layer) => `sha256:${sha256(layer)}`);
  const config = JSON.stringify({
    architecture,
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: diffIds },
  });
  const names = layers.map((layer) => `${sha256(layer)}.tar`);
  const manifest = JSON.stringify([{ Config: "config.json", RepoTags: ["app:1"], Layers: names }]);
  return archive({
    "config.json": Buffer.from(config),
    ...Object.fromEntries(layers.map((layer, n) => [names[n]!, layer])),
    "manifest.json": manifest,
  });
}
const noise = (sizeBytes: number, seed: string): Buffer => {
  const parts: Buffer[] = [];
  for (let n = 0; n * 32 < sizeBytes; n++) parts.push(createHash("sha256").update(`${seed}${n}`).digest());
  return Buffer.concat(parts).subarray(0, sizeBytes);
};
const base = noise(3 << 20, "base");
const nameOf = ({ appId, id }: BuildRecord): string => `apps/${appId}:${id}`;
const refusal = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => assert.unreachable("was taken"),
    (error: ExecError) => error.stderr,
  ) as Promise<string>;

test("the image is on the build's record when its push has ended; of the next one only the layer that is new is sent", () =>
  withWorld(async ({ build, push, record, seen, rig, collect }) => {
    const first = await build("blog");
    await push(await imageOf([base, noise(1_000, "one")]), nameOf(first));
    const { product } = record(first);
    assert.ok(product?.type === "image" && product.architecture === "amd64" && product.sizeBytes > base.length);
    assert.is(seen.filter((step) => step.startsWith("sent ")).length, 3, "two layers and the config");

    const next = { ...record(first), id: "build-next", product: undefined };
    await rig.store.commit({
      actor: "test",
      mutations: [
        { key: keys.build(next.appId, next.id), value: next },
        { key: keys.buildPlan(next.appId, next.id), value: { settings: {}, buildpacks: [] } },
      ],
    });
    seen.length = 0;
    await push(await imageOf([base, noise(1_000, "two")]), nameOf(next as BuildRecord));
    const sent = seen.flatMap((step) => (step.startsWith("sent ") ? [Number(step.slice(5))] : []));
    assert.is(sent.length, 2, `the new layer and the config: ${seen.join(", ")}`);
    assert.ok(Math.max(...sent) < 10_000, seen.join(", "));
    const made = record(next as BuildRecord).product;
    assert.ok(made?.type === "image" && made.sizeBytes > base.length, "what was there already counts too");
    assert.ok(await collect(), "and nothing holds the collector up afterwards");
  }));

test("nothing is written but a build's own image, under its own name, by the host that it is on", () =>
  withWorld(async ({ build, push, record, rig, seen }) => {
    const image = await imageOf([noise(1_000, "one")]);
    const [own, other] = [await build("blog"), await build("db", await rig.host())];
    assert.match(await refusal(push(image, nameOf(other))), /denied|403/, "another host's");
    assert.match(await refusal(push(image, `apps/${own.appId}:latest`)), /under its own name/);
    assert.match(await refusal(push(image, "apps/app-nobody:1")), /denied|403/);
    assert.match(await refusal(push(image, "stack/runner:1")), /denied|403/);
    assert.is(record(own).product, undefined);
    await push(image, nameOf(own));
    await rig.store.commit({
      actor: "test",
      mutations: [
        { key: keys.build(own.appId, own.id), value: { ...record(own), result: { exitCode: 0, reason: "" } } },
      ],
    });
    seen.length = 0;
    assert.match(
      await refusal(push(await imageOf([noise(1_000, "late")]), nameOf(own))),
      /denied/,
      "it has its result",
    );
    assert.equal(seen, []);
  }));

test("an image for other hosts, and a layer that unpacks to far more than it was sent as, are refused in words", () =>
  withWorld(async ({ build, push, record }) => {
    const own = await build("blog");
    assert.match(
      await refusal(push(await imageOf([noise(1_000, "one")], "s390x"), nameOf(own))),
      /the image is for linux\/s390x, hosts are linux\/amd64 or linux\/arm64/,
    );
    const bomb = Buffer.alloc(40 << 20);
    assert.ok(gzipSync(bomb).length * 200 < bomb.length);
    assert.match(await refusal(push(await imageOf([bomb]), nameOf(own))), /denied|unpacks to more than 200 times/);
    assert.is(record(own).product, undefined);
  }));

for (const [method, url, expected] of [
  ["POST", "/v2/apps/a/blobs/uploads/", { type: "begin", repository: "apps/a" }],
  [
    "POST",
    `/v2/apps/a/blobs/uploads/?from=apps%2Fb&mount=${DIGEST}`,
    { type: "begin", repository: "apps/a", mount: { digest: DIGEST, from: "apps/b" } },
  ],
  ["POST", "/v2/apps/a/blobs/uploads/?from=../b&mount=x", { type: "begin", repository: "apps/a" }],
  ["PATCH", "/v2/apps/a/blobs/uploads/1-2?_state=x", { type: "upload", repository: "apps/a" }],
  [
    "PUT",
    `/v2/apps/a/blobs/uploads/1-2?_state=x&digest=${DIGEST}`,
    { type: "upload", repository: "apps/a", digest: DIGEST },
  ],
  ["PUT", "/v2/apps/a/manifests/build-1", { type: "manifest", repository: "apps/a", tag: "build-1" }],
  ["PUT", `/v2/apps/a/manifests/${DIGEST}`, undefined],
  ["DELETE", "/v2/apps/a/manifests/build-1", undefined],
  ["POST", "/v2/stack/runner/blobs/uploads/", undefined],
  ["POST", "/v2/apps/a/b/blobs/uploads/", undefined],
  ["GET", "/v2/apps/a/blobs/uploads/1-2", undefined],
  ["PUT", "/v2/apps/../stack/manifests/1", undefined],
] as const)
  test(`${method} ${url} is ${expected?.type ?? "no step of a push"}`, () =>
    assert.equal(writeOf(method, url), expected));

test("what a client calls its manifest is said when it is not taken, and no more of it than a line holds", () => {
  const said = (contentType: string) => {
    try {
      readManifest(Buffer.from("{}"), contentType);
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.is(said("text/html; charset=utf-8"), "the image's manifest is of a kind that is not taken (text/html)");
  assert.is(said("x".repeat(5_000)), `the image's manifest is of a kind that is not taken (${"x".repeat(100)})`);
});

test.run();

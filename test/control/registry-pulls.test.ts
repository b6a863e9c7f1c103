// What hosts get from the registry: a real TLS front over a real control, before a stand-in for the registry that says what was asked.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { createServer, type RequestOptions, request } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { deleteApp } from "#api/apps.ts";
import { deleteHost } from "#api/hosts.ts";
import { listJobs } from "#api/jobs.ts";
import { createService } from "#api/services.ts";
import { type ExecError, exec, stopChild } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { openAuthority } from "../../control/identity/authority.ts";
import { pullOf } from "../../control/pull-rights.ts";
import { registry } from "../../control/registry.ts";
import { registryPulls } from "../../control/registry-pulls.ts";
import { freePort } from "../lib/free-port.ts";
import { runnerArchive } from "./builds/world.ts";
import { type Member, type Rig, withRig } from "./rig.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;

interface World {
  rig: Rig;
  /** `GET /v2/...` as the registry saw it. */
  asked: string[];
  /** Reads of the endless blob under way at the registry. */
  endless: Set<IncomingMessage>;
  ask(who: Partial<Member>, method: string, path: string): Promise<{ status: number; body: string }>;
  open(who: Partial<Member>, path: string): Promise<IncomingMessage>;
  job(name: string): Promise<{ appId: string; hostId: string }>;
}

async function withWorld(body: (world: World) => Promise<void>): Promise<void> {
  await withRig(async (rig) => {
    const authority = await openAuthority(join(rig.directory, "ca"));
    const identity = await authority.issueControl(["127.0.0.1"]);
    const { caPem } = authority;
    const asked: string[] = [];
    const endless = new Set<IncomingMessage>();
    const tls = {
      key: identity.key,
      cert: identity.certificate,
      ca: caPem,
      requestCert: true,
      rejectUnauthorized: true,
    };
    const upstream = createServer(tls, (req, res) => {
      asked.push(`${req.method} ${req.url}`);
      res.writeHead(200, { "content-type": "application/octet-stream", "docker-content-digest": DIGEST, "x-own": "1" });
      if (!req.url!.includes("/blobs/")) return void res.end(req.method === "HEAD" ? undefined : "an image");
      endless.add(req);
      res.on("close", () => endless.delete(req));
      const more = (): void => {
        while (!res.destroyed && res.write(Buffer.alloc(65_536)));
        res.once("drain", more);
      };
      more();
    }).listen(0, "127.0.0.1");
    await once(upstream, "listening");
    const { store, jobs } = rig.control.context;
    const address = `127.0.0.1:${(upstream.address() as AddressInfo).port}`;
    const pulls = registryPulls({ store, jobs, upstream: address, identity, caPem, log: silentLog() });
    const port = await pulls.listen("127.0.0.1", 0);
    const open = ({ key, certificate: cert }: Partial<Member>, path: string, over: RequestOptions = {}) =>
      new Promise<IncomingMessage>((resolve, reject) => {
        const options = { ca: caPem, key, cert, agent: false as const, ...over };
        request(`https://127.0.0.1:${port}${path}`, options, resolve).on("error", reject).end();
      });
    try {
      await body({
        rig,
        asked,
        endless,
        open,
        async ask(who, method, path) {
          const reply = await open(who, path, { method });
          return { status: reply.statusCode!, body: await text(reply) };
        },
        async job(name) {
          await rig.admin.call(createService, { body: { name, image: "x", count: 1 } });
          const up = async () =>
            (await rig.admin.call(listJobs, { params: { app: name } })).items.find(({ state }) => state === "up");
          const { appId, hostId } = await until(up, { what: `a job of ${name}`, timeoutMs: 10_000 });
          return { appId, hostId: hostId! };
        },
      });
    } finally {
      await pulls.close();
      upstream.closeAllConnections();
      upstream.close();
    }
  });
}

test("a host gets the images of what runs on it and the stack, and no other app's", () =>
  withWorld(async ({ rig, asked, ask, job }) => {
    const fleet = [await rig.host(), await rig.host()];
    for (const host of fleet) host.start();
    const [blog, db] = [await job("blog"), await job("db")];
    assert.is.not(blog.hostId, db.hostId);
    const host = fleet.find(({ id }) => id === blog.hostId)!;
    const own = `/v2/apps/${blog.appId}/manifests/${DIGEST}`;
    assert.equal(await ask(host, "GET", own), { status: 200, body: "an image" });
    assert.equal(await ask(host, "HEAD", own), { status: 200, body: "" });
    assert.is((await ask(host, "GET", "/v2/")).status, 200);
    assert.is((await ask(host, "GET", `/v2/stack/runner/manifests/${DIGEST}`)).status, 200);
    asked.length = 0;
    for (const place of ["manifests", "blobs"]) {
      const { status, body } = await ask(host, "GET", `/v2/apps/${db.appId}/${place}/${DIGEST}`);
      assert.is(status, 403);
      assert.equal(JSON.parse(body).errors[0].code, "DENIED");
    }
    assert.equal(asked, [], "the registry was asked");
  }));

test("nothing is written, listed or asked for by a tag, by nobody but a host of this cluster", () =>
  withWorld(async ({ rig, asked, ask, job }) => {
    const host = await rig.host();
    host.start();
    const { appId } = await job("blog");
    const own = `/v2/apps/${appId}`;
    for (const [method, path] of [
      ["PUT", `${own}/manifests/${DIGEST}`],
      ["DELETE", `${own}/manifests/${DIGEST}`],
      ["POST", `${own}/blobs/uploads/`],
      ["GET", `${own}/manifests/latest`],
      ["GET", `${own}/tags/list`],
      ["GET", "/v2/_catalog"],
      ["GET", `${own}/../../apps/other/manifests/${DIGEST}`],
      ["GET", `${own}/manifests/${DIGEST}?ns=other`],
      ["GET", "/metrics"],
    ] as const)
      assert.is((await ask(host, method, path)).status, 403, `${method} ${path}`);
    const router = await rig.join("router");
    assert.is((await ask(router, "GET", `${own}/manifests/${DIGEST}`)).status, 403);
    await ask({}, "GET", "/v2/").then(
      () => assert.unreachable("answered somebody without a certificate"),
      () => undefined,
    );
    await host.stop();
    await rig.admin.call(deleteHost, { params: { id: host.id } });
    assert.is((await ask(host, "GET", `/v2/stack/runner/manifests/${DIGEST}`)).status, 401, "a removed host");
    assert.equal(asked, []);
  }));

test("a job that ended takes the right to its image along", () =>
  withWorld(async ({ rig, ask, job }) => {
    const host = await rig.host();
    host.start();
    const { appId } = await job("blog");
    const path = `/v2/apps/${appId}/manifests/${DIGEST}`;
    assert.is((await ask(host, "GET", path)).status, 200);
    await rig.admin.call(deleteApp, { params: { app: "blog" } });
    await until(async () => (await ask(host, "GET", path)).status === 403, { what: "the refusal", timeoutMs: 10_000 });
  }));

test("a layer is passed on as it comes; a host that goes away ends the reading of it", () =>
  withWorld(async ({ rig, endless, open, job }) => {
    const host = await rig.host();
    host.start();
    const { appId } = await job("blog");
    const reply = await open(host, `/v2/apps/${appId}/blobs/${DIGEST}`);
    assert.equal([reply.statusCode, reply.headers["docker-content-digest"]], [200, DIGEST]);
    assert.is(reply.headers["x-own"], undefined);
    await once(reply, "readable");
    assert.ok((reply.read() as Buffer).length > 0);
    assert.is(endless.size, 1);
    reply.destroy();
    await until(() => endless.size === 0, { what: "the end of the read", timeoutMs: 5_000 });
  }));

test("skopeo, with a host's certificate, fetches an image whole from a real registry behind it, and none of another app", () =>
  withRig(async (rig) => {
    const authority = await openAuthority(join(rig.directory, "ca"));
    const identity = await authority.issueControl(["127.0.0.1"]);
    const { caPem } = authority;
    const at = (...names: string[]) => join(rig.directory, ...names);
    const host = await rig.host();
    host.start();
    await mkdir(at("certs"));
    const files = { "own.crt": identity.certificate, "own.key": identity.key, "ca.pem": caPem };
    const shown = { "certs/ca.crt": caPem, "certs/client.key": host.key, "certs/client.cert": host.certificate };
    for (const [name, content] of Object.entries({ ...files, ...shown })) await writeFile(at(name), content);
    const address = `127.0.0.1:${await freePort()}`;
    const tls = { certificate: at("own.crt"), key: at("own.key"), clientcas: [at("ca.pem")] };
    const storage = { filesystem: { rootdirectory: at("layers") } };
    await writeFile(at("registry.yml"), JSON.stringify({ version: "0.1", storage, http: { addr: address, tls } }));
    const child = spawn("docker-registry", ["serve", at("registry.yml")], { stdio: "ignore" });
    const { store, jobs } = rig.control.context;
    const pulls = registryPulls({ store, jobs, upstream: address, identity, caPem, log: silentLog() });
    try {
      const images = await registry({ address, directory: at("client"), identity, caPem });
      await until(async () => (await images.problem()) === undefined, { what: "the registry", timeoutMs: 10_000 });
      const port = await pulls.listen("127.0.0.1", 0);
      const fetched = async (repository: string) => {
        const sent = Readable.from([await runnerArchive()]);
        const { digest } = await images.push(sent, repository, new AbortController().signal);
        const source = `docker://127.0.0.1:${port}/${repository}@${digest}`;
        await mkdir(at("out", repository), { recursive: true });
        await exec(["skopeo", "copy", "--src-cert-dir", at("certs"), source, `dir:${at("out", repository)}`]);
        return readdir(at("out", repository));
      };
      assert.ok((await fetched("stack/runner")).length >= 4, "manifest, version, config and layer");
      await fetched("apps/app-other").then(
        () => assert.unreachable("got another app's image"),
        (error: unknown) => assert.match((error as ExecError).stderr, /runs nothing of apps\/app-other|denied/),
      );
    } finally {
      await pulls.close();
      await stopChild(child);
    }
  }));

for (const path of [
  "/v2/apps/a/manifests/sha256:ab",
  `/v2/Apps/a/manifests/${DIGEST}`,
  `/v2/apps//a/manifests/${DIGEST}`,
  `/v2/apps/a%2fb/manifests/${DIGEST}`,
  `/v2/${"a/".repeat(300)}a/blobs/${DIGEST}`,
  `/v2/apps/a/manifests/${DIGEST}\n`,
  `/v1/apps/a/manifests/${DIGEST}`,
])
  test(`${path.slice(0, 60)} is nothing that is pulled`, () => assert.is(pullOf("GET", path), undefined));

test.run();

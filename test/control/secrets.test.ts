// Sealing: what goes in comes out, for its owner only; a changed envelope, another key or a lost key file are refused; and a stolen
// database shows the names of variables, never a value.
import { createHash, randomBytes } from "node:crypto";
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as apps from "#api/apps.ts";
import { type Fault, isFault } from "#api/fault.ts";
import { createJob } from "#api/jobs.ts";
import { createService } from "#api/services.ts";
import { until } from "#lib/time.ts";
import { keysNeeded, openEnv, sealRelease } from "../../control/apps/env-at-rest.ts";
import { releasesOf } from "../../control/apps/find.ts";
import { keys, PREFIX } from "../../control/keys.ts";
import { keyOf, openSecrets, SEALING_DIRECTORY, secretsOf } from "../../control/secrets.ts";
import { withRig } from "./rig.ts";

const messageOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return (error as Error).message;
  }
  return "no fault";
};

test("property: any text comes out as it went in, sealed anew each time, and only for its owner", () => {
  const secrets = secretsOf([randomBytes(32)]);
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.string(), (plain, owner) => {
      const sealed = secrets.seal(plain, owner);
      assert.is(secrets.open(sealed, owner), plain);
      assert.is.not(secrets.seal(plain, owner), sealed);
      assert.match(
        messageOf(() => secrets.open(sealed, `${owner}x`)),
        /belongs to something else/,
      );
    }),
  );
});

test("property: an envelope with any bit changed does not open", () => {
  const secrets = secretsOf([randomBytes(32)]);
  const [version, id, body] = secrets.seal("a secret", "release r").split(".") as [string, string, string];
  fc.assert(
    fc.property(fc.nat(Buffer.from(body, "base64url").length * 8 - 1), (bit) => {
      const bytes = Buffer.from(body, "base64url");
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      const words = messageOf(() => secrets.open(`${version}.${id}.${bytes.toString("base64url")}`, "release r"));
      assert.match(words, /was changed/);
    }),
  );
  assert.match(
    messageOf(() => secrets.open("v1.x.y", "o")),
    /key that is not here/,
  );
  assert.is(keyOf("not an envelope"), undefined);
});

test("a new key seals, the ones before still open, and what is of an older key says so", () => {
  const [first, second] = [randomBytes(32), randomBytes(32)];
  const old = secretsOf([first]);
  const both = secretsOf([first, second]);
  const sealed = old.seal("x", "o");
  assert.is(both.open(sealed, "o"), "x");
  assert.ok(both.isOld(sealed) && !both.isOld(both.seal("x", "o")));
  assert.is(both.digest("request"), old.digest("request"));
  assert.match(
    messageOf(() => old.open(both.seal("x", "o"), "o")),
    /key that is not here/,
  );
});

test("the key file is made once, for its owner's eyes, and never again while the state needs the one that is lost", async () => {
  const directory = await mkdtemp(join(tmpdir(), "sealing-"));
  try {
    const path = join(directory, SEALING_DIRECTORY);
    const sealed = (await openSecrets(path)).seal("x", "o");
    assert.is((await stat(join(path, "keys"))).mode & 0o777, 0o600);
    await chmod(join(path, "keys"), 0o644);
    assert.is((await openSecrets(path, new Set([keyOf(sealed)!]))).open(sealed, "o"), "x");
    assert.is((await stat(join(path, "keys"))).mode & 0o777, 0o600);
    const refused = async (work: Promise<unknown>) =>
      await work.then(
        () => "opened",
        (error: Fault) => error.message,
      );
    assert.match(await refused(openSecrets(path, new Set(["0123456789abcdef"]))), /sealed with key 0123456789abcdef/);
    await writeFile(join(path, "keys"), "torn");
    assert.match(await refused(openSecrets(path)), /damaged/);
    await rm(path, { recursive: true });
    assert.match(await refused(openSecrets(path, new Set([keyOf(sealed)!]))), /put the file back/);
    assert.equal(await readdir(directory), [], "and nothing was made in its place");
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("releases from before sealing are read, and sealed at the next start; the API shows what it always showed", () =>
  withRig(async (rig) => {
    const app = await rig.admin.call(apps.createApp, { body: { name: "hello" } });
    const params = { app: "hello" };
    await rig.admin.call(apps.updateEnv, { params, body: { env: { A: "1" } } });
    const [record] = releasesOf(rig.store, app.id);
    const { sealed, envNames, ...rest } = record!;
    assert.ok(sealed !== undefined && rest.env === undefined);
    assert.equal(envNames, ["A"]);
    const old = { ...rest, env: { A: "1", OLD: "plain" } };
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.release(app.id, old.id), value: old }] });
    assert.equal((await rig.admin.call(apps.getEnv, { params })).env, { A: "1", OLD: "plain" });
    await rig.restart();
    const [now] = releasesOf(rig.store, app.id);
    assert.ok(now!.env === undefined && now!.sealed !== undefined);
    assert.equal((await rig.admin.call(apps.getEnv, { params })).env, { A: "1", OLD: "plain" });
    const { items } = await rig.admin.call(apps.listReleases, { params });
    assert.equal(items[0]!.envNames, ["A", "OLD"]);
    assert.not.ok("sealed" in items[0]! || "env" in items[0]!);
    assert.equal([...keysNeeded(rig.store)], [keyOf(now!.sealed!)!]);
  }));

test("an environment of the largest size there may be is kept and read back, whatever it is made of", () =>
  withRig(
    async (rig) => {
      await rig.admin.call(apps.createApp, { body: { name: "hello" } });
      const params = { app: "hello" };
      const random = (bytes: number) => randomBytes(bytes).toString("base64");
      const values = Object.fromEntries(Array.from({ length: 3 }, (_, n) => [`V${n}`, random(3_000)]));
      const names = Object.fromEntries(Array.from({ length: 94 }, (_, n) => [`N${n}_`.padEnd(120, "x"), ""]));
      let previous: string[] = [];
      for (const env of [values, names]) {
        assert.ok(JSON.stringify(env).length > 11_500);
        await rig.admin.call(apps.updateEnv, {
          params,
          body: { env: { ...Object.fromEntries(previous.map((name) => [name, null])), ...env } },
        });
        assert.equal((await rig.admin.call(apps.getEnv, { params })).env, env);
        previous = Object.keys(env);
      }
    },
    { loops: false },
  ));

test("records of the same release are not interchangeable: an environment moved to another release does not open", () => {
  const secrets = secretsOf([randomBytes(32)]);
  const release: apps.Release = {
    id: "release-1",
    appId: "app-1",
    version: 1,
    processes: {},
    env: { A: "1" },
    description: "",
    createdAt: "2026-01-01T00:00:00Z",
    createdBy: "t",
  };
  const sealed = sealRelease(secrets, release);
  assert.equal(openEnv(secrets, sealed), { A: "1" });
  assert.throws(
    () => openEnv(secrets, { ...sealed, id: "release-2" }),
    (error: unknown) => isFault(error, "internal"),
  );
});

test("a stolen database alone shows no value: not in records, journal, outcomes of requests, events, deployments or jobs", () =>
  withRig(async (rig) => {
    const secret = Array.from({ length: 6 }, () => randomBytes(24).toString("hex"));
    const host = await rig.host();
    host.start();
    const service = { name: "hello", image: "hello:1", env: { IN_SERVICE: secret[0]! } };
    await rig.admin.call(createService, { body: service, idempotencyKey: "k1" });
    const params = { app: "hello" };
    const { deploymentId } = await rig.admin.call(apps.updateEnv, { params, body: { env: { IN_ENV: secret[1]! } } });
    assert.ok(deploymentId);
    const body = { env: { IN_RELEASE: secret[2]!, PIN: "4711" } };
    await rig.admin.call(apps.createRelease, { params, body, idempotencyKey: "k2" });
    await until(async () => (await rig.admin.call(apps.getApp, { params })).releaseId, {
      what: "a release",
      timeoutMs: 20_000,
    });
    await rig.admin.call(createJob, {
      params,
      body: { command: ["true"], env: { IN_TASK: secret[3]! } },
      idempotencyKey: "k3",
    });
    await until(
      () => host.target?.jobs.some(({ env }) => env["IN_TASK"] === secret[3] && env["IN_SERVICE"] === secret[0]),
      {
        what: "the task's variables at its host",
        timeoutMs: 20_000,
      },
    );
    const refused = await rig.admin
      .call(apps.updateEnv, { params, body: { env: { BIG: `${secret[4]}${"x".repeat(9_000)}`, PORT: secret[5]! } } })
      .then(
        () => "taken",
        (error: Fault) => `${error.message} ${JSON.stringify(error.details ?? {})}`,
      );
    assert.not.match(refused, secret[4]!);
    const reserved = await rig.admin.call(apps.updateEnv, { params, body: { env: { PORT: secret[5]! } } }).then(
      () => "taken",
      (error: Fault) => `${error.message} ${JSON.stringify(error.details ?? {})}`,
    );
    assert.match(reserved, /PORT is set by the platform/);
    assert.not.match(reserved, secret[5]!);
    assert.ok(rig.store.count(PREFIX.taskEnvs) > 0 && rig.store.count(PREFIX.events) > 0);
    await rig.restart(); // what was in memory is in files now
    const files = await contents(join(rig.directory, "store"));
    assert.ok(
      files.some((bytes) => bytes.includes("IN_ENV")),
      "names are there, so the search finds what is there",
    );
    for (const value of secret) {
      for (const bytes of files) assert.not.ok(bytes.includes(value), "a value is in the database");
    }
    // Nor can a short one be guessed at: no bare hash of the request that carried it.
    const request = JSON.stringify([params, {}, body]);
    const guess = createHash("sha256").update(request).digest("hex");
    for (const bytes of files) assert.not.ok(bytes.includes(guess), "a request's bare hash is in the database");
    assert.is((await rig.admin.call(apps.getEnv, { params })).env["IN_SERVICE"], secret[0], "control itself reads on");
  }));

async function contents(directory: string): Promise<Buffer[]> {
  const names = await readdir(directory, { recursive: true, withFileTypes: true });
  return await Promise.all(
    names.filter((entry) => entry.isFile()).map((entry) => readFile(join(entry.parentPath, entry.name))),
  );
}

test.run();

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadHostdConfig, targetDirOf } from "../../hostd/config.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-config-"));
test.after(() => rm(directory, { recursive: true, force: true }));
const write = async (name: string, value: unknown): Promise<string> => {
  const path = join(directory, name);
  await writeFile(path, typeof value === "string" ? value : JSON.stringify(value));
  return path;
};
const least = { controlUrls: ["https://10.77.0.1:7777"], caPem: "PEM", name: "box-1" };
const none = join(directory, "no-such-seed");

test("the least file has defaults for the rest", async () => {
  const config = loadHostdConfig({ file: await write("least.json", least), env: {} });
  assert.equal(config, {
    ...least,
    stateDir: "/var/lib/flynn/hostd",
    dockerSocket: "/var/run/docker.sock",
    dockerCertsDir: "/etc/docker/certs.d",
    allowedAddresses: [],
    dns: [],
    manageNetwork: true,
    port: 7779,
    dockerDir: "/var/lib/docker",
    secrets: "disk",
    requireTpm: false,
    logMaxBytes: 16 << 20,
    logTotalBytes: 256 << 20,
    runDir: "/run/flynn",
    tags: {},
  });
});

test("the boot server's seed is a whole configuration, also with fields of a newer one", async () => {
  const seed = {
    controlUrls: least.controlUrls,
    caPem: "PEM",
    joinToken: "fjg_x",
    machineId: "m1",
    bootId: "b1",
    hostname: "node-1",
    tags: { disk: "ssd" },
    diskPolicy: { name: "diskless", mode: "ram" },
    fieldOfTomorrow: 1,
  };
  const config = loadHostdConfig({ seedFile: await write("seed.json", seed), env: {} });
  assert.is(config.name, "node-1");
  assert.is(config.joinToken, "fjg_x");
  assert.equal(config.tags, { disk: "ssd" });
  assert.is(targetDirOf(config), config.stateDir, "its profile says nothing of secrets");
});

test("a machine whose profile keeps secrets in RAM keeps what jobs are given off its state disk", async () => {
  const { name: hostname, ...rest } = least;
  const diskPolicy = { name: "default", mode: "find-empty" };
  const seed = { ...rest, hostname, joinToken: "fjg_x", tags: {}, diskPolicy, secrets: "ram" };
  const config = loadHostdConfig({ seedFile: await write("ram-seed.json", seed), env: {} });
  assert.is(config.secrets, "ram");
  assert.is(targetDirOf(config), config.runDir);
});

test("a CA may be a file; without any the error says so", async () => {
  const { caPem: _, ...rest } = least;
  const caFile = await write("ca.pem", "FROM FILE");
  assert.is(loadHostdConfig({ file: await write("a.json", { ...rest, caFile }), env: {} }).caPem, "FROM FILE");
  const file = await write("b.json", rest);
  assert.throws(() => loadHostdConfig({ file, env: {} }), /one of caPem and caFile/);
});

test("an unknown key, a plain-text URL and a missing name are errors that name them", async () => {
  for (const [fields, message] of [
    [{ ...least, dockerSokcet: "/x" }, /dockerSokcet/],
    [{ ...least, controlUrls: ["http://10.77.0.1"] }, /controlUrls/],
    [{ ...least, name: undefined }, /name/],
  ] as const) {
    const file = await write("wrong.json", fields);
    assert.throws(() => loadHostdConfig({ file, seedFile: none, env: {} }), message);
  }
});

test("environment variables override the file", async () => {
  const file = await write("env.json", least);
  assert.is(loadHostdConfig({ file, env: { FLYNN_HOSTD_PORT: "1234", FLYNN_HOSTD_NAME: "other" } }).port, 1234);
});

test.run();

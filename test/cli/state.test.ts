// time limit: 300 s
// Backup, restore and a lost token on the appliance's own machine, as an operator types them.
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { getStatus } from "#api/status.ts";
import { silentLog } from "#lib/log.ts";
import { processId } from "#lib/process-id.ts";
import { until } from "#lib/time.ts";
import { saveCluster } from "../../cli/clusters/clusters.ts";
import { clustersFile } from "../../cli/clusters/clusters-file.ts";
import { tokenProblem } from "../../cli/up/admin-token.ts";
import { openAuthority } from "../../control/identity/authority.ts";
import { openSecrets } from "../../control/secrets.ts";
import { openStore } from "../../control/store/store.ts";
import { withControl } from "../api/control-process.ts";
import { invoke } from "./invoke.ts";

async function inScratch(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-state-"));
  try {
    await body(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const flynn = (home: string, ...args: string[]) => invoke(args, { env: { HOME: home }, cwd: home });

/** What an appliance that has ended leaves: apps in the order they were made, a CA, a sealing key and git repositories. */
async function appliance(state: string, ...apps: string[]): Promise<void> {
  const control = join(state, "control");
  await mkdir(join(control, "git", "hello.git"), { recursive: true });
  await openAuthority(join(control, "ca"));
  await openSecrets(join(control, "sealing"));
  await add(state, ...apps);
}

async function add(state: string, ...apps: string[]): Promise<void> {
  const store = await openStore({ directory: join(state, "control", "store"), log: silentLog() });
  for (const name of apps) await store.commit({ actor: "test", mutations: [{ key: `apps/${name}`, value: { name } }] });
  await store.close();
}

async function appsIn(state: string): Promise<string[]> {
  const store = await openStore({ directory: join(state, "control", "store"), log: silentLog() });
  const names = store.list<{ name: string }>("apps/").map(({ value }) => value.name);
  await store.close();
  return names.sort();
}

test("a backup and what is kept with it make the same state in a new folder, with nothing else there", () =>
  inScratch(async (directory) => {
    const [old, fresh, file] = [join(directory, "old"), join(directory, "new"), join(directory, "b.bak")];
    await appliance(old, "a", "b");
    assert.is((await flynn(directory, "cluster", "backup", "--state", old, file)).code, 0);
    for (const name of ["ca", "sealing", "git"])
      await cp(join(old, "control", name), join(fresh, "control", name), { recursive: true });
    const restored = await flynn(directory, "cluster", "restore", "--state", fresh, file);
    assert.is(restored.code, 0, restored.err);
    assert.match(restored.out, "2 entries as of record 2");
    assert.not.match(restored.out, "put the directory", "all of it is there");
    assert.match(restored.err, `next: flynn up --state ${fresh}`);
    assert.equal(await appsIn(fresh), ["a", "b"]);
    assert.equal((await readdir(join(fresh, "control"))).sort(), ["ca", "git", "sealing", "store"]);
    assert.is((await flynn(directory, "cluster", "backup", "--state", fresh, join(directory, "again"))).code, 0);
  }));

test("a folder that nothing was put into is private, and what is still to be put there is said", () =>
  inScratch(async (directory) => {
    const [old, fresh, file] = [join(directory, "old"), join(directory, "new"), join(directory, "b.bak")];
    await appliance(old, "a");
    await flynn(directory, "cluster", "backup", "--state", old, file);
    const { out } = await flynn(directory, "cluster", "restore", "--state", fresh, file);
    assert.match(out, /put the directory ca .*\n.*put the directory sealing/);
    for (const each of [fresh, join(fresh, "control")]) assert.is((await stat(each)).mode & 0o077, 0, each);
  }));

test("what is not there is said so, and nothing is made on the way", () =>
  inScratch(async (directory) => {
    const state = join(directory, "state");
    const gone = join(directory, "nonexist");
    const missing = await flynn(directory, "cluster", "restore", "--state", state, gone);
    assert.equal([missing.code, missing.err], [3, `error: there is no file ${gone}\n`]);
    for (const args of [["backup", gone], ["restore"]]) {
      const { code, err } = await flynn(directory, "cluster", ...args, "--state", state);
      assert.is(code, 3);
      assert.match(err, `no appliance has its state in ${state}; to restore a backup there: flynn cluster restore`);
    }
    assert.equal(await readdir(directory), []);
    await appliance(state, "a");
    const nowhere = await flynn(directory, "cluster", "backup", "--state", state, join(gone, "b"));
    assert.is(nowhere.code, 3);
    assert.match(nowhere.err, `there is no directory ${gone}: mount or make it first`);
    assert.equal(await readdir(directory), ["state"]);
  }));

test("a backup over healthy state names what it undoes, asks for the folder, and says how to take it back; that works", () =>
  inScratch(async (directory) => {
    const [state, file] = [join(directory, "state"), join(directory, "b.bak")];
    await appliance(state, "a");
    await flynn(directory, "cluster", "backup", "--state", state, file);
    await add(state, "young");
    for (const more of [[], ["--confirm", "yes"]]) {
      const { code, err } = await flynn(directory, "cluster", "restore", "--state", state, file, ...more);
      assert.is(code, 2);
      assert.match(err, "Nothing was done");
      if (more.length > 0) continue;
      assert.match(err, /WARNING: the state in .*2 entries up to record 2 .*1 entries up to record 1.*is undone/s);
      assert.match(err, `--confirm ${state}`);
    }
    assert.equal(await appsIn(state), ["a", "young"]);
    const restored = await flynn(directory, "cluster", "restore", "--state", state, file, "--confirm", state);
    assert.is(restored.code, 0, restored.err);
    assert.equal(await appsIn(state), ["a"]);
    assert.not.match(restored.out, "damaged");
    const [, line = ""] = /to take it back, with the appliance down: flynn (.*)/.exec(restored.out) ?? [];
    assert.match(line, /^cluster restore --state \S+ \S+store\.before-\S+$/);
    assert.is((await flynn(directory, ...line.split(" "), "--confirm", state)).code, 0);
    assert.equal(await appsIn(state), ["a", "young"]);
  }));

test("while the appliance runs nothing is restored, and it says how to end it", () =>
  inScratch(async (directory) => {
    const [state, file] = [join(directory, "state"), join(directory, "b.bak")];
    await appliance(state, "a");
    await flynn(directory, "cluster", "backup", "--state", state, file);
    await isUp(state);
    const { code, err } = await flynn(directory, "cluster", "restore", "--state", state, file, "--confirm", state);
    assert.is(code, 5);
    assert.match(err, `end it first: flynn down --state ${state}`);
  }));

/** This process stands for `flynn up`. */
async function isUp(state: string): Promise<void> {
  await mkdir(join(state, "run"), { recursive: true });
  await writeFile(join(state, "run", "up.json"), JSON.stringify(await processId(process.pid)));
}

test("on the appliance's own machine a lost or unknown token is made anew: for this user's CLI, under the name it has there", () =>
  withControl(async ({ root, url, caPem }) => {
    const home = join(root, "home");
    const env = { HOME: home, PATH: process.env["PATH"] };
    const { pin } = JSON.parse(await readFile(join(root, "control", "ready.json"), "utf8")) as { pin: string };
    const place = { stateDir: root, env, signal: new AbortController().signal };
    assert.match((await tokenProblem({ pin, url }, place))!, `flynn cluster token --state ${root}`);
    const file = clustersFile(env);
    await saveCluster(file, { name: "prod", url, pin, caPem, token: "a-token-of-a-state-that-is-gone" });
    assert.match((await tokenProblem({ pin, url }, place))!, /"prod" is not known to this state.*flynn cluster token/);
    const before = await flynn(home, "apps");
    assert.is(before.code, 4);
    assert.match(before.err, "on the appliance's own machine `flynn cluster token` makes a new one");

    const down = await flynn(home, "cluster", "token", "--state", root);
    assert.is(down.code, 3);
    assert.match(down.err, `start it: flynn up --state ${root}`);
    await isUp(root);
    const made = await flynn(home, "cluster", "token", "--state", root, "--json");
    assert.is(made.code, 0, made.err);
    const { name, token } = JSON.parse(made.out) as { name: string; token: string };
    assert.is(name, "prod");
    assert.is((await flynn(home, "apps")).code, 0);
    assert.is(await tokenProblem({ pin, url }, place), undefined);
    assert.not.ok((await readdir(join(root, "control"))).includes("new-admin-token.json"));
    assert.not.match(await readFile(join(root, "control", "ready.json"), "utf8"), token);
    // Whoever copies a file of the request over has no token: only its digest was ever there.
    const again = await flynn(home, "cluster", "token", "--state", root);
    assert.match(again.out, /From another machine: flynn cluster add -p \S+ prod https:\S+ \S+$/m);
  }));

test("a request for a token that is none is put away, and control goes on", () =>
  withControl(async ({ root, admin }) => {
    const path = join(root, "control", "new-admin-token.json");
    for (const text of ["", "{", '{"sha256":"../../x"}', "null"]) {
      await writeFile(path, text);
      const isGone = () =>
        readFile(path).then(
          () => false,
          () => true,
        );
      await until(isGone, { what: "the end of the request", timeoutMs: 20_000 });
    }
    await admin.call(getStatus);
  }));

test.run();

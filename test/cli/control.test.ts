// The CLI against a real control on loopback: what people type, what it prints, and how it exits.
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec, stopChild } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import { freePort } from "../lib/free-port.ts";
import { type InvokeOptions, invoke } from "./invoke.ts";

const tree = fileURLToPath(new URL("../..", import.meta.url));
const directory = await mkdtemp(join(tmpdir(), "flynn-cli-"));
const home = { FLYNN_HOME: join(directory, "home"), HOME: directory };
const first = { adminToken: "", pin: "", url: "" };
const flynn = (line: string | string[], options: InvokeOptions = {}) =>
  invoke(typeof line === "string" ? line.split(" ").filter(Boolean) : line, {
    cwd: directory,
    ...options,
    env: { ...home, ...options.env },
  });

async function startControl() {
  const port = await freePort();
  const config = join(directory, "control.json");
  const settings = { stateDir: join(directory, "control"), address: "127.0.0.1", port, advertise: ["127.0.0.1"] };
  await writeFile(
    config,
    JSON.stringify({ ...settings, dockerSocket: join(directory, "none.sock"), registryPush: "127.0.0.1:1" }),
  );
  const child = spawn(process.execPath, [join(tree, "control/main.ts"), "--config", config], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    err += chunk;
  });
  await until(() => out.includes("\n") || child.exitCode !== null, {
    what: "control's first start",
    timeoutMs: 30_000,
  });
  if (child.exitCode !== null) throw new Error(`control ended: ${err}`);
  Object.assign(first, JSON.parse(out));
  return child;
}

const control = await startControl();
test.after(async () => {
  await stopChild(control);
  await rm(directory, { recursive: true, force: true });
});

test("before any cluster is added, commands say how to get one", async () => {
  const { code, err } = await flynn("apps");
  assert.is(code, 3);
  assert.match(err, "add one: flynn cluster add NAME https://10.77.0.1:7777 --pin PIN (asks for the token)");
  assert.match(err, "or start one on this machine: flynn up");
});

test("a wrong pin, a wrong token and a dead address add nothing", async () => {
  const wrong = `${"A".repeat(43)}=`;
  const pinned = await flynn(["cluster", "add", "-p", wrong, "default", first.url, first.adminToken]);
  assert.equal([pinned.code, pinned.out], [4, ""]);
  assert.match(pinned.err, `does not present the certificate authority with pin ${wrong}`);
  const token = await flynn(["cluster", "add", "-p", first.pin, "default", first.url, "wrong-token"]);
  assert.is(token.code, 4);
  assert.match(token.err, "the token is not known");
  assert.not.match(pinned.err, "flynn token create");
  assert.match(token.err, "or ask somebody who has the cluster for another: flynn token create NAME");
  for (const noPin of [first.pin.slice(0, 40), `${first.pin}x`, "sha256:abc"]) {
    const { code, err } = await flynn(["cluster", "add", "-p", noPin, "default", first.url, first.adminToken]);
    assert.is(code, 2, noPin);
    assert.ok(err.startsWith(`error: --pin ${noPin} is no pin: it is 44 characters of base64`), err);
    assert.match(
      err,
      "`flynn up` prints it at its first start, and `flynn cluster list` shows it where the cluster is known",
    );
  }
  const port = await freePort();
  const dead = await flynn(["cluster", "add", "-p", first.pin, "default", `https://127.0.0.1:${port}`, "x"]);
  assert.is(dead.code, 1);
  assert.match(dead.err, `127.0.0.1:${port}`);
  const unpinned = await flynn(["cluster", "add", "default", first.url, first.adminToken]);
  assert.is(unpinned.code, 2);
  assert.equal(JSON.parse((await flynn("cluster list --json")).out), []);
});

test("cluster add says what it always said, keeps the token from others, and makes the first the default", async () => {
  const { code, out, err } = await flynn(["cluster", "add", "-p", first.pin, "default", first.url, first.adminToken]);
  assert.equal([code, out], [0, 'Cluster "default" added.\n']);
  assert.match(err, /^git pushes to https:\S+ with this token now: .* were set in git's global configuration\n$/);
  assert.is((await stat(join(home.FLYNN_HOME, "clusters.json"))).mode & 0o777, 0o600);
  assert.match((await flynn("cluster list")).out, /default +https:\/\/127\.0\.0\.1:\d+ +\S+= +\(default\)\n/);
  assert.not.match((await flynn("cluster list --json")).out, first.adminToken);
});

test("a token from stdin stays out of the process list; -d makes the new cluster the default", async () => {
  const added = await flynn(["cluster", "add", "-d", "-p", first.pin, "second", first.url, "-"], {
    stdin: `${first.adminToken}\n`,
  });
  assert.equal([added.code, added.out], [0, 'Cluster "second" added.\n']);
  assert.is((await flynn("cluster default")).out, "second\n");
  assert.is((await flynn("cluster default default")).code, 0);
  assert.is((await flynn("cluster default nope")).code, 3);
  assert.is((await flynn("cluster remove second")).out, 'Cluster "second" removed.\n');
  assert.is((await flynn("-c second apps")).code, 3);
});

test("create, apps and info; a name that is taken is a conflict, one that is no name is wrong usage", async () => {
  assert.equal(await flynn("create hello"), { code: 0, out: "Created hello\n", err: "" });
  const again = await flynn("create hello");
  assert.equal([again.code, again.out, again.err], [5, "", "error: an app is named hello already\n"]);
  assert.is((await flynn("create Hello!")).code, 2);
  assert.is((await flynn("create api")).code, 2);
  const named = JSON.parse((await flynn("create --json")).out) as { name: string };
  assert.match(named.name, /^[a-z][a-z0-9-]+$/);
  const names = (JSON.parse((await flynn("apps --json")).out) as { name: string }[]).map(({ name }) => name);
  assert.equal(names.sort(), ["hello", named.name].sort());
  assert.match((await flynn("info -a hello")).out, /^=== hello\n/);
  const missing = await flynn("info -a nope");
  assert.equal([missing.code, missing.err], [3, "error: no app nope; see `flynn apps`\n"]);
});

test("the app comes from the flag, then FLYNN_APP, then the git remote", async () => {
  const repository = join(directory, "repository");
  await mkdir(repository);
  await exec(["git", "init", "-q", repository]);
  const at = { cwd: repository };
  const created = await flynn("create inrepo", at);
  assert.is(created.out, "Created inrepo\n");
  assert.match(created.err, `added the git remote flynn to ${repository}: ${first.url}/git/inrepo.git`);
  const { stdout } = await exec(["git", "-C", repository, "remote", "get-url", "flynn"]);
  assert.is(stdout, `${first.url}/git/inrepo.git\n`);
  const appOf = async (line: string, env = {}) => (await flynn(line, { ...at, env })).out.split("\n")[0];
  assert.is(await appOf("info"), "=== inrepo");
  assert.is(await appOf("info", { FLYNN_APP: "hello" }), "=== hello");
  assert.is(await appOf("info -a inrepo", { FLYNN_APP: "hello" }), "=== inrepo");
  const { err } = await flynn("create other", at);
  assert.match(err, `${repository} has a git remote flynn already, of app inrepo, ${first.url}/git/inrepo.git`);
  assert.match(err, "flynn remote add -a other --force");
  assert.is((await flynn("delete --confirm inrepo", at)).code, 0);
  assert.not.match((await exec(["git", "-C", repository, "remote"])).stdout, "flynn");
  const nowhere = await flynn("info");
  assert.is(nowhere.code, 2);
  assert.match(nowhere.err, "which app?");
});

test("env set, get, unset: each a release; reserved names are refused", async () => {
  assert.match((await flynn(["env", "set", "-a", "hello", "FOO=bar", "TEXT=a b=c"])).out, /^Created release v1\n$/);
  assert.is((await flynn("env -a hello")).out, "FOO=bar\nTEXT=a b=c\n");
  assert.is((await flynn("env get TEXT -a hello")).out, "a b=c\n");
  assert.equal(JSON.parse((await flynn("env -a hello --json")).out), { FOO: "bar", TEXT: "a b=c" });
  assert.is((await flynn("env unset FOO -a hello")).code, 0);
  assert.is((await flynn("env get FOO -a hello")).code, 3);
  assert.is((await flynn("env get toString -a hello")).code, 3);
  const reserved = await flynn("env set PORT=1 -a hello");
  assert.is(reserved.code, 2);
  assert.match(reserved.err, "PORT is set by the platform");
  assert.is((await flynn("env set 1A=x -a hello")).code, 2);
  assert.match((await flynn("service list")).out, /^NAME .*\nhello +hello +web +v2 /);
  assert.match((await flynn("releases -a hello")).out, /^RELEASE .*\nv2 .*\nv1 /);
});

test("routes are made, listed and removed; a taken domain is a conflict", async () => {
  const made = await flynn("route add http Hello.Test/api -a hello");
  const id = /^Created route (\S+): http:\/\/hello\.test\/api leads to hello web\n$/.exec(made.out)?.[1];
  assert.ok(id, made.out + made.err);
  assert.is((await flynn("route:add:http hello.test -a hello")).code, 0);
  assert.is((await flynn("route add http hello.test -a other")).code, 5);
  assert.is((await flynn(["route", "add", "http", "a b", "-a", "hello"])).code, 2);
  assert.match((await flynn("route list -a hello")).out, `http:hello.test/api  hello web  ${id}`);
  assert.equal(JSON.parse((await flynn("route list -a other --json")).out), []);
  assert.is((await flynn(["route", "remove", id!])).out, `Route ${id} removed.\n`);
  assert.is((await flynn(["route", "remove", id!])).code, 3);
});

test("before the first image, scale says that nothing is deployed", async () => {
  const { code, err } = await flynn("scale web=2 -a hello");
  assert.is(code, 5);
  assert.match(err, "nothing deployed yet");
  assert.equal(JSON.parse((await flynn("ps -a hello --json")).out), []);
});

test("an archive that is none is refused with control's reason, and leaves nothing behind", async () => {
  const file = join(directory, "bad.tar");
  await writeFile(file, Buffer.alloc(2_000_000, 1));
  const { code, out, err } = await flynn(["deploy", "--archive", file, "-a", "hello"]);
  assert.equal([code, out], [2, ""]);
  assert.match(err, "not a sound `docker save` image");
  assert.is((await flynn(["deploy", "--archive", join(directory, "none.tar"), "-a", "hello"])).code, 2);
  assert.equal(JSON.parse((await flynn("deployment list -a hello --json")).out).length, 0); // env set and unset deployed nothing
});

test("a join token stands alone on stdout, and what to do with it beside", async () => {
  const { code, out, err } = await flynn("host token --ttl 10m");
  assert.is(code, 0, err);
  assert.match(out, /^fjt_\S+\n$/);
  assert.match(err, /copy \S+home\/ca\/default\.pem from here to \/etc\/flynn\/ca\.pem there/);
  assert.match(err, `controlUrls: ["${first.url}"]`);
  assert.match(err, "hostd/main.ts run --config /etc/flynn/hostd.yaml");
  assert.not.match(err, out.trim());
});

test("status shows every part; doctor finds what is missing, says what to do, and exits 1", async () => {
  const status = await flynn("status");
  assert.is(status.code, 1, "no router has joined");
  assert.match(status.out, /PART +STATE +MESSAGE\nstore +ok/);
  assert.ok((JSON.parse((await flynn("status --json")).out) as { parts: unknown[] }).parts.length >= 4);
  const doctor = await flynn(["doctor", "--state", join(directory, "no-state")]);
  assert.is(doctor.code, 1);
  assert.match(doctor.out, /error: router: down: no router has joined\n {2}do: {3}look at router\.log/);
  assert.match(doctor.out, /warning: builds: the cluster has no stack yet.*\n {2}do: {3}flynn stack build/);
});

test("lists that are empty say so on stderr, and are [] as JSON", async () => {
  for (const noun of ["machine list", "host list", "image list"]) {
    const { code, out, err } = await flynn(noun);
    assert.equal([code, out], [0, ""], noun);
    assert.ok(err.length > 10, noun);
    assert.is((await flynn(`${noun} --json`)).out, "[]\n", noun);
  }
  for (const [line, words] of [
    ["machine show x", "see `flynn machine list`"],
    ["machine explain x", "see `flynn machine list`"],
    ["host show x", "see `flynn host list`"],
    ["host cordon x", "see `flynn host list`"],
    ["service show x", "see `flynn service list`"],
    ["profile show x", "no profile x"],
  ] as const) {
    const { code, err } = await flynn(line);
    assert.is(code, 3, line);
    assert.match(err, words);
  }
});

const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK+HvgVIXCvVB9Mxsjw1uSHLa2UD9VxuVbEPrJbJN/LM me@here";
test("profiles are made and changed in parts", async () => {
  const key = join(directory, "id.pub");
  await writeFile(key, `${KEY}\n`);
  const line = ["profile", "set", "storage", "--disk", "find-empty", "--min-disk", "100GiB", "--tag", "disk=ssd"];
  const made = await flynn([...line, "--cmdline", "console=ttyS0", "--ssh-key-file", key]);
  assert.equal([made.code, made.err], [0, "Profile storage made; no profile had that name.\n"]);
  assert.is((await flynn("profile set storage --tag zone=a --tag disk- --secrets ram")).code, 0);
  const shown = JSON.parse((await flynn("profile show storage --json")).out) as Record<string, unknown>;
  assert.equal(shown, {
    name: "storage",
    image: "current",
    cmdline: ["console=ttyS0"],
    tags: { zone: "a" },
    sshKeys: [KEY],
    secrets: "ram",
    diskPolicy: { name: "find-empty", mode: "find-empty", minSizeBytes: 100 * 1024 ** 3 },
  });
  assert.match((await flynn(["profile", "set", "storage", "--tag", "zone=b"])).err, /^Profile storage changed\.\n$/);
  await writeFile(key, "# nobody now\n\n");
  assert.is((await flynn(["profile", "set", "storage", "--ssh-key-file", key, "--cmdline", "none"])).code, 0);
  const cleared = JSON.parse((await flynn("profile show storage --json")).out) as Record<string, unknown>;
  assert.equal([cleared["sshKeys"], cleared["cmdline"], cleared["tags"]], [[], [], { zone: "b" }]);
  await writeFile(key, `-----BEGIN OPENSSH ${"PRIVATE"} KEY-----\n`);
  const secret = await flynn(["profile", "set", "storage", "--ssh-key-file", key]);
  assert.is(secret.code, 2);
  assert.match(secret.err, "is a private key");
  for (const wrong of [
    "--disk floppy",
    "--secrets tape",
    "--disk named",
    "--disk-path /dev/sda",
    "--disk ram --disk-path /dev/sda",
    "--min-disk big",
    "--disk-verify some",
    "--disk ram --disk-verify all",
  ])
    assert.is((await flynn(`profile set storage ${wrong}`)).code, 2, wrong);
  assert.is((await flynn("profile set storage --disk-verify ends")).code, 0);
  assert.match((await flynn("profile show storage")).out, /find-empty from 100 GiB \(reads the ends alone\)/);
  await flynn("profile set storage --disk find-empty");
  assert.match((await flynn("profile show storage --json")).out, /"mode": "find-empty",\s+"minSizeBytes": \d+\s+\}/);
  assert.is((await flynn("profile remove storage")).code, 2);
  assert.is((await flynn("profile remove storage --confirm storage")).code, 0);
});

test("a profile takes keys and a cloud-config of one's own, shows what a machine would get, and refuses what no host could use", async () => {
  const [key, own] = [join(directory, "ops.pub"), join(directory, "own.yaml")];
  await writeFile(key, `${KEY}\n`);
  await writeFile(own, "#cloud-config\ntimezone: Europe/Berlin\nruncmd:\n- [echo, hello]\n");
  const set = (...more: string[]) => flynn(["profile", "set", "ops", ...more]);
  assert.is((await set("--ssh-key-file", key, "--cloud-config", own, "--cmdline", "quiet")).code, 0);
  assert.is((await set("--tag", "zone=a")).code, 0, "what is not named stays");
  const { out } = await flynn("profile render ops");
  assert.match(out, /^#cloud-config\n/);
  for (const part of [KEY, "timezone: Europe/Berlin", "- hello", "flynn-hostd.service", "/etc/flynn/hostd.json"])
    assert.match(out, part);
  assert.match(out, "GRANT-OF-ONE-BOOT");
  assert.not.match(out, "fjg_");
  assert.match(out, /# kernel command line: quiet/);
  assert.match((await flynn("profile show ops")).out, /Cloud-config:? +4 lines/);
  const refused: [string, RegExp][] = [
    ["packages: [vim]", /packages: a host's root is in RAM/],
    ["runcmd: echo", /runcmd: must be array/],
    ["a: [", /not YAML/],
  ];
  for (const [text, why] of refused) {
    await writeFile(own, text);
    const { code, err } = await set("--cloud-config", own);
    assert.is(code, 2, text);
    assert.match(err, why);
  }
  await writeFile(key, "ssh-ed25519 AAAA broken\n");
  const broken = await set("--ssh-key-file", key);
  assert.is(broken.code, 2);
  assert.match(broken.err, /sshKeys\[0\]: the key is damaged/);
  assert.match((await flynn("profile render ops")).out, "timezone: Europe/Berlin", "nothing of that was taken");
  await writeFile(own, "");
  assert.is((await set("--cloud-config", own)).code, 0);
  assert.not.match((await flynn("profile render ops")).out, "timezone");
  assert.is((await flynn("profile render nothing")).code, 3);
  assert.is((await flynn("profile remove ops --confirm ops")).code, 0);
});

test("deleting says what is lost, and does it only when its name is given", async () => {
  const blind = await flynn("delete -a hello");
  assert.is(blind.code, 2);
  assert.match(blind.err, /WARNING: app hello is deleted for good: .*hello\.test/);
  assert.match(blind.err, "--confirm hello");
  assert.is((await flynn("delete -a hello --confirm other")).code, 2);
  assert.is((await flynn("delete -a hello", { terminal: { in: true }, typed: "hell" })).code, 2);
  assert.is((await flynn("info -a hello")).code, 0);
  assert.is((await flynn("delete -a hello", { terminal: { in: true }, typed: "hello" })).out, "Deleted hello\n");
  assert.is((await flynn("info -a hello")).code, 3);
});

test("an image that nobody signed is not registered; a directory without one is wrong usage", async () => {
  assert.is((await flynn(["image", "register", directory])).code, 2);
  await writeFile(join(directory, "manifest.json"), "{}");
  await writeFile(join(directory, "manifest.sig"), `${"A".repeat(86)}==\n`);
  const { code } = await flynn(["image", "register", directory]);
  assert.not.equal(code, 0);
  assert.is((await flynn("image list --json")).out, "[]\n");
});

test("a script's token is the one line on stdout, adds the cluster elsewhere, does what it may, and is revoked by name", async () => {
  const made = await flynn("token create ci --permissions app:read --expires 90d");
  assert.match(made.out, /^fat_[A-Za-z0-9_-]{43}\n$/);
  assert.match(
    made.err,
    /app:read\), good until 20.*\n.*flynn cluster add default https:\/\/127\.0\.0\.1:\d+ - --pin /,
  );
  const elsewhere = { FLYNN_HOME: join(directory, "ci-home"), HOME: join(directory, "ci-home") };
  const ci = (line: string[], options: InvokeOptions = {}) => flynn(line, { ...options, env: elsewhere });
  const added = await ci(["cluster", "add", "there", first.url, "-", "--pin", first.pin], { stdin: made.out });
  assert.is(added.code, 0, added.err);
  assert.is((await ci(["apps", "--json"])).code, 0);
  assert.is((await ci(["create", "mine"])).code, 4);
  const listed = (await flynn("token list")).out;
  assert.match(listed, /^ci +app:read +20\S+ \S+ +\S+ ago +admin /m);
  assert.not.match(listed, /fat_/);
  assert.is((await flynn("token revoke ci")).code, 0);
  const refused = await ci(["apps"]);
  assert.equal([refused.code, refused.out], [4, ""]);
  assert.match(refused.err, "or ask somebody who has the cluster for another: flynn token create NAME");
  const wrong = await flynn("token create x --permissions app:admin");
  assert.is(wrong.code, 2);
  assert.match(wrong.err, /app:read/);
  assert.match((await flynn("token revoke nobody")).err, /no token nobody; see `flynn token list`/);
});

test("names for completion are bare words, and silence when there is no cluster", async () => {
  assert.match((await flynn("complete apps")).out, /^other$/m);
  assert.is((await flynn("complete clusters")).out, "default\n");
  assert.equal(await flynn("complete apps", { env: { FLYNN_HOME: join(directory, "empty") } }), {
    code: 0,
    out: "",
    err: "",
  });
});

test("the command itself: exit code, one error line, stdout for answers alone", async () => {
  const env = { ...process.env, ...home };
  const command = join(tree, "cli/flynn");
  const version = await exec([command, "version"], { env });
  assert.match(version.stdout, /^flynn (\d+\.\d+\.\d+)\ncluster \S+: \1, protocol \d+\n$/);
  const failed = await exec([command, "-a", "nope", "info"], { env, cwd: directory }).catch(
    (error: { exitCode: number; stdout: string; stderr: string }) => error,
  );
  assert.equal(
    [(failed as { exitCode: number }).exitCode, failed.stdout, failed.stderr],
    [3, "", "error: no app nope; see `flynn apps`\n"],
  );
});

test("a default cluster is forgotten only when confirmed; a damaged file says what to do", async () => {
  assert.is((await flynn("cluster remove default")).code, 2);
  assert.is((await flynn("cluster remove default --confirm default")).code, 0);
  assert.is((await flynn("apps")).code, 3);
  const file = join(home.FLYNN_HOME, "clusters.json");
  assert.equal(JSON.parse(await readFile(file, "utf8")), { clusters: [] });
  await writeFile(file, "{torn");
  const { code, err } = await flynn("cluster list");
  assert.is(code, 2);
  assert.match(err, `${file} is damaged`);
});

test.run();

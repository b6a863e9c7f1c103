// time limit: 300 s
// git over SSH: OpenSSH's own sshd as `flynn up` starts it (root), the real ssh and git as clients, all on loopback.
import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { getGit } from "#api/git.ts";
import { addKey, listKeys, removeKey } from "#api/keys.ts";
import { stopChild } from "#lib/exec.ts";
import { RELAY, SESSION_UID, sshdConfig } from "../../../cli/up/ssh-config.ts";
import { freePort } from "../../lib/free-port.ts";
import { eventually, type GitRig, gitRig, head } from "./git-rig.ts";

const TREE = fileURLToPath(new URL("../../../", import.meta.url));
let it: GitRig;
let sshd: ChildProcess;
let said = "";
let port: number;
let hostKeyDir: string;

async function startSshd(): Promise<void> {
  const config = join(hostKeyDir, "../sshd_config");
  await writeFile(config, sshdConfig({ port, address: "127.0.0.1", hostKeyDir }));
  const words = [config, hostKeyDir, join(TREE, "control/git/relay"), join(it.stateDir, "git/door")];
  const own = ["--mount", "--propagation", "private", "--", process.execPath, join(TREE, "cli/up/ssh-server.ts")];
  sshd = spawn("unshare", [...own, ...words], { stdio: ["ignore", "ignore", "pipe"] });
  sshd.stderr!.on("data", (chunk) => (said += chunk));
  await eventually("sshd listening", () => {
    assert.is(sshd.exitCode, null, said);
    return said.includes("Server listening");
  });
}

test.before(async () => {
  assert.is(process.getuid?.(), 0, "these tests need root: sshd does");
  port = await freePort();
  it = await gitRig({ sshRelay: [...RELAY], sshUid: SESSION_UID, sshPort: port });
  hostKeyDir = join(it.home, "../ssh");
  await mkdir(join(it.home, ".ssh"), { mode: 0o700 });
  await startSshd();
  await key("id");
  await it.client.call(addKey, { body: { publicKey: await publicKey("id"), name: "laptop" } });
});
test.after(async () => {
  if (sshd) await stopChild(sshd);
  await it.close();
});
test.before.each(() => {
  it.builds.auto = "succeeded";
  said = "";
});

const keyFile = (name: string) => join(it.home, ".ssh", name);
const key = (name: string, ...more: string[]) =>
  it.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", `${name}@test`, "-f", keyFile(name), ...more]);
const publicKey = (name: string) => readFile(`${keyFile(name)}.pub`, "utf8");
const options = (name: string) =>
  `-F none -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o StrictHostKeyChecking=no -o UserKnownHostsFile=${it.home}/known -i ${keyFile(name)}`;
const ssh = (name: string, ...words: string[]) =>
  it.run(
    [
      "ssh",
      ...options(name).split(" "),
      "-p",
      String(port),
      ...words.slice(0, 1),
      "git@127.0.0.1",
      ...words.slice(1),
    ].filter((word) => word !== ""),
  );
const gitSsh = (name: string, directory: string, ...args: string[]) =>
  it.run(["git", "-C", directory, ...args], { env: { GIT_SSH_COMMAND: `ssh ${options(name)}` } });
const remote = (app: string) => `ssh://git@127.0.0.1:${port}/${app}.git`;

test("a push over SSH builds, copies the log, moves the branch; fetch and clone work, and a second push moves only its change", async () => {
  await it.app("over-ssh");
  const work = await it.work("over-ssh");
  const pushed = await gitSsh("id", work, "push", remote("over-ssh"), "main");
  assert.is(pushed.code, 0, pushed.err + said);
  assert.match(pushed.err, /remote: -----> Building over-ssh *\nremote: =====> Application deployed/);
  assert.is(await head(it, "over-ssh"), it.builds.made.at(-1)!.build.source.commit);
  assert.is(it.builds.made.at(-1)!.build.createdBy, "admin (ssh key laptop)");
  const cloned = await gitSsh("id", it.home, "clone", "--quiet", remote("over-ssh"), "clone");
  assert.is(cloned.code, 0, cloned.err);
  await it.commit(work, { more: "1" });
  assert.is((await gitSsh("id", work, "push", remote("over-ssh"), "main")).code, 0);
  assert.is((await gitSsh("id", join(it.home, "clone"), "-c", "protocol.version=2", "pull", "--quiet")).code, 0);
  assert.is(await readFile(join(it.home, "clone/more"), "utf8"), "1");
});

test("a failed build's words and its refusal reach the client", async () => {
  await it.app("ssh-fails");
  const work = await it.work("ssh-fails");
  it.builds.auto = "failed";
  const { code, err } = await gitSsh("id", work, "push", remote("ssh-fails"), "main");
  assert.is(code, 1);
  assert.match(err, /it does not compile/);
  assert.match(err, /remote rejected\] main -> main \(build \d+ failed\)/);
});

test("a client that is killed over SSH changes nothing: the build is deployed and the branch moves", async () => {
  await it.app("ssh-gone");
  it.builds.auto = undefined;
  const work = await it.work("ssh-gone");
  const count = it.builds.made.length;
  const command = `GIT_SSH_COMMAND="ssh ${options("id")}" exec git push "${remote("ssh-gone")}" main`;
  const client = it.start(["sh", "-c", command], work);
  await eventually("the build's first line", () => client.text().includes("Building ssh-gone"));
  const closed = new Promise((resolve) => client.once("close", resolve));
  client.vanish();
  await closed;
  const one = it.builds.made.at(-1)!;
  for (let n = 0; n < 2_000; n++) one.write(`       ${"x".repeat(100)} ${n}\n`);
  await one.end("succeeded");
  await eventually(
    "the branch at the pushed commit",
    async () => (await head(it, "ssh-gone")) === one.build.source.commit,
  );
  assert.is(it.builds.made.length, count + 1);
});

test("there is no shell, no terminal, no forwarding and no other command", async () => {
  const hello = await ssh("id", "");
  assert.is(hello.code, 1);
  assert.match(hello.err, /hello laptop, the key is good; there is no shell here/);
  for (const command of [
    "id",
    "git-receive-pack",
    "git-upload-archive 'over-ssh.git'",
    "git-receive-pack 'a.git'; id",
    "git-receive-pack '../../etc'",
    "git-receive-pack --upload-pack=id",
    "git-upload-pack '--strict'",
    "git-receive-pack 'a.git' 'b.git'",
    "git-receive-pack $(id)",
  ]) {
    const ran = await ssh("id", "", command);
    assert.is(ran.code, 1, command);
    assert.is(ran.out, "");
    assert.match(ran.err, /only git is served here|no app|a repository's path is/, command);
  }
  assert.match((await ssh("id", "-tt")).err, /PTY allocation request failed/);
  const forwarded = await ssh("id", `-oExitOnForwardFailure=yes`, "-W", `127.0.0.1:${new URL(it.url).port}`);
  assert.is.not(forwarded.code, 0);
});

test("an app that is not there is named; a key that is not known, or not any more, is refused", async () => {
  const work = await it.work("ssh-keys");
  await it.app("ssh-keys");
  assert.match(
    (await gitSsh("id", work, "push", remote("nothing"), "main")).err,
    /no app nothing; `flynn apps` lists them/,
  );
  await key("other");
  const stranger = await gitSsh("other", work, "push", remote("ssh-keys"), "main");
  assert.is(stranger.code, 128);
  assert.match(stranger.err, /Permission denied \(publickey\)/);
  const added = await it.client.call(addKey, { body: { publicKey: await publicKey("other") } });
  assert.is(added.name, "other@test");
  assert.is((await gitSsh("other", work, "push", remote("ssh-keys"), "main")).code, 0);
  await it.client.call(removeKey, { params: { id: added.name } });
  assert.is((await gitSsh("other", work, "push", remote("ssh-keys"), "main")).code, 128);
  assert.equal(
    (await it.client.call(listKeys)).items.map(({ name }) => name),
    ["laptop"],
  );
});

test("a session runs as an account that is nobody's, and the machine's own accounts are as they were", async () => {
  await it.app("ssh-who");
  it.builds.auto = undefined;
  const work = await it.work("ssh-who");
  const client = it.start(
    ["sh", "-c", `GIT_SSH_COMMAND="ssh ${options("id")}" exec git push "${remote("ssh-who")}" main`],
    work,
  );
  await eventually("the build's first line", () => client.text().includes("Building ssh-who"));
  const uids: string[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const cmdline = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (cmdline.includes(`${RELAY.at(-1)}\0ssh\0`))
      uids.push(/^Uid:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))![1]!);
  }
  assert.ok(uids.length > 0);
  assert.equal(new Set(uids), new Set([String(SESSION_UID)]));
  assert.not.match(await readFile("/etc/passwd", "utf8"), `:${SESSION_UID}:`);
  const socket = await stat(join(it.stateDir, "git/door/git.sock"));
  assert.equal([socket.mode & 0o777, socket.uid], [0o600, SESSION_UID]);
  assert.is((await stat(join(it.stateDir, "git"))).mode & 0o077, 0);
  const closed = new Promise((resolve) => client.once("close", resolve));
  await it.builds.made.at(-1)!.end("succeeded");
  await closed;
});

test("host keys stay over a restart, and the API tells them and the port", async () => {
  const keys = async () =>
    Promise.all(
      (await readdir(hostKeyDir))
        .filter((name) => name.endsWith(".pub"))
        .sort()
        .map((name) => readFile(join(hostKeyDir, name), "utf8")),
    );
  const before = await keys();
  assert.is(before.length, 2);
  await chmod(hostKeyDir, 0o700);
  await stopChild(sshd);
  await startSshd();
  assert.equal(await keys(), before);
  await it.app("ssh-told");
  const { ssh: told } = await it.client.call(getGit, { params: { app: "ssh-told" } });
  assert.equal([told?.port, told?.user], [port, "git"]);
});

test("control may be started again under a running sshd", async () => {
  await it.restart();
  await it.app("ssh-restarted");
  const { code, err } = await gitSsh("id", await it.work("ssh-restarted"), "push", remote("ssh-restarted"), "main");
  assert.is(code, 0, err);
});

test("what is no public key is refused in words", async () => {
  const refused = async (text: string, words: RegExp) => {
    try {
      await it.client.call(addKey, { body: { publicKey: text } });
    } catch (error) {
      assert.ok(isFault(error), String(error));
      return assert.match((error as Error).message, words);
    }
    assert.unreachable(text);
  };
  const line = (await publicKey("id")).trim();
  await refused(line, /this key is there already, as laptop/);
  await refused(await readFile(keyFile("id"), "utf8"), /this is a private key/);
  await refused(`command="id" ${line}`, /the key's type is to be one of/);
  await refused(`${line}\n${line}`, /a public key is one line/);
  await refused(line.replace("AAAAC3", "AAAAC4"), /the key is damaged/);
  await refused("ssh-dss AAAA x", /DSA keys are too weak/);
  await it.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", keyFile("weak")]);
  await refused(await publicKey("weak"), /an RSA key of 1024 bits/);
});

test.run();

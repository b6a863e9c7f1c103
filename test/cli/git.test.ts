// time limit: 120 s
// What the CLI sets up for git, tried with git itself: the credential helper, the CA, remotes over HTTPS and SSH, keys.
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp } from "#api/apps.ts";
import { ExecError, exec } from "#lib/exec.ts";
import { certificatePin } from "#lib/x509.ts";
import { quoted } from "../../cli/git/own-command.ts";
import { rig } from "../control/rig.ts";
import { type InvokeOptions, invoke } from "./invoke.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn git's "));
const env = { FLYNN_HOME: join(directory, "flynn home"), HOME: directory };
const relay = ["/run/flynn-git/node"];
const control = await rig({
  sshRelay: relay,
  sshPort: 7723,
  sshHostKeys: join(directory, "host-keys"),
  sshUid: process.getuid!(),
});
const pin = certificatePin(control.caPem);

test.before(async () => {
  await mkdir(join(directory, "host-keys"));
  await writeFile(join(directory, "host-keys/ssh_host_ed25519_key.pub"), "ssh-ed25519 AAAAhost flynn\n");
});
test.after(async () => {
  await control.close();
  await rm(directory, { recursive: true, force: true });
});

const flynn = (line: string, options: InvokeOptions = {}) =>
  invoke(line.split(" ").filter(Boolean), { cwd: directory, ...options, env: { ...env, ...options.env } });
const git = async (...args: string[]) => {
  const full = { PATH: process.env["PATH"], ...env, GIT_TERMINAL_PROMPT: "0", GIT_CONFIG_NOSYSTEM: "1" };
  return (await exec(["git", ...args], { cwd: directory, env: full })).stdout;
};
const config = () => readFile(join(directory, ".gitconfig"), "utf8");

test("cluster add tells git of the helper and the CA, and git then reads the cluster's repositories without asking", async () => {
  const added = await flynn(`cluster add -p ${pin} rig ${control.url} ${control.token}`);
  assert.is(added.code, 0, added.err);
  assert.match(added.err, `credential.${control.url}.helper`);
  assert.not.match(await config(), control.token);
  await control.admin.call(createApp, { body: { name: "hello" } });
  assert.is(await git("ls-remote", `${control.url}/git/hello.git`), "");
  try {
    await git("ls-remote", `${control.url}/git/nothing.git`);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, ExecError);
    assert.match((error as ExecError).stderr, /remote: no app nothing; `flynn apps` lists them/);
  }
});

test("the helper gives the token for that address alone, and keeps nothing that git offers it", async () => {
  const { host } = new URL(control.url);
  const asked = (text: string, operation = "get") => flynn(`git-credential ${operation}`, { stdin: text });
  assert.is((await asked(`protocol=https\nhost=${host}\n`)).out, `username=flynn\npassword=${control.token}\n`);
  assert.is((await asked("protocol=https\nhost=example.org\n")).out, "");
  assert.is((await asked(`protocol=http\nhost=${host}\n`)).out, "");
  assert.is((await asked("\n\n=\n")).out, "");
  const kept = await asked(`protocol=https\nhost=${host}\nusername=x\npassword=evil\n`, "store");
  assert.equal([kept.code, kept.out], [0, ""]);
  assert.not.match(await readFile(join(env.FLYNN_HOME, "clusters.json"), "utf8"), "evil");
});

test("the program that git starts answers as the command does, without the rest of the CLI", async () => {
  const { host } = new URL(control.url);
  const program = fileURLToPath(new URL("../../cli/flynn", import.meta.url));
  const asked = async (operation: string, input: string) =>
    (await exec([program, "git-credential", operation], { input, env: { ...process.env, ...env, HOME: directory } }))
      .stdout;
  for (const input of [`protocol=https\nhost=${host}\n`, "protocol=https\nhost=example.org\n", "\n"])
    assert.is(await asked("get", input), (await flynn("git-credential get", { stdin: input })).out, input);
  for (const operation of ["store", "erase"])
    assert.is(await asked(operation, `protocol=https\nhost=${host}\nusername=x\npassword=evil\n`), "");
});

test("a helper the user set before for all hosts is not asked, and is never told the token", async () => {
  const spy = join(directory, "spy");
  assert.is((await flynn("cluster remove rig --confirm rig")).code, 0);
  await git("config", "--global", "credential.helper", `!f() { cat >> ${quoted(spy)}; }; f`);
  assert.is((await flynn(`cluster add -p ${pin} rig ${control.url} ${control.token}`)).code, 0);
  assert.is(await git("ls-remote", `${control.url}/git/hello.git`), "");
  assert.is(await stat(spy).catch(() => "none"), "none");
  await git("config", "--global", "--unset-all", "credential.helper");
});

test("adding the cluster again says the same once, and removing it leaves git's configuration as it was", async () => {
  const before = await config();
  assert.is((await flynn(`cluster add -p ${pin} rig ${control.url} ${control.token}`)).code, 0);
  assert.is(await config(), before);
  assert.is((await flynn(`cluster add -p ${pin} twin ${control.url} ${control.token}`)).code, 0);
  assert.is((await flynn("cluster remove twin")).code, 0);
  assert.is(await git("ls-remote", `${control.url}/git/hello.git`), "", "the one that is left goes on");
  assert.is((await flynn("cluster remove rig --confirm rig")).code, 0);
  assert.not.match(await config(), new URL(control.url).host);
  assert.is((await flynn(`cluster add -p ${pin} rig ${control.url} ${control.token}`)).code, 0);
});

test("without git, or without a home, the cluster is added all the same and the reason said", async () => {
  const bare = await flynn(`cluster add -p ${pin} nogit ${control.url} ${control.token}`, { env: { PATH: directory } });
  assert.equal([bare.code, bare.out], [0, 'Cluster "nogit" added.\n']);
  assert.match(bare.err, /git was not set up for \S+: the program git is missing/);
  assert.is((await flynn("cluster remove nogit")).code, 0);
});

test("create and remote add make the remote, over HTTPS or SSH with the host keys the API tells", async () => {
  const repository = join(directory, "repository");
  await git("init", "--quiet", repository);
  const at = { cwd: repository };
  const remote = async () => (await git("-C", repository, "remote", "get-url", "flynn")).trim();
  assert.is((await flynn("create shop --ssh", at)).out, "Created shop\n");
  assert.is(await remote(), "ssh://git@127.0.0.1:7723/shop.git");
  assert.is(await readFile(join(directory, ".ssh/known_hosts"), "utf8"), "[127.0.0.1]:7723 ssh-ed25519 AAAAhost\n");
  assert.is((await flynn("info", at)).out.split("\n")[0], "=== shop", "the app is known by that remote too");
  const kept = await flynn("remote add -a hello", at);
  assert.equal([kept.code, kept.out], [5, ""]);
  assert.match(kept.err, /replace it with --force/);
  assert.is((await flynn("remote add -a hello --force", at)).out, `Remote flynn is ${control.url}/git/hello.git\n`);
  assert.is(await remote(), `${control.url}/git/hello.git`);
  assert.is((await flynn("remote add -a hello --ssh --force", at)).code, 0);
  assert.is(await readFile(join(directory, ".ssh/known_hosts"), "utf8"), "[127.0.0.1]:7723 ssh-ed25519 AAAAhost\n");
  assert.is((await flynn("remote add -a nope", at)).code, 3);
  assert.is((await flynn("remote add", { cwd: directory })).code, 2);
});

test("keys are added from the usual file, a named one or stdin, listed and removed; a private key never leaves the machine", async () => {
  const none = await flynn("key add", { env: { HOME: join(directory, "nobody") } });
  assert.equal([none.code, /ssh-keygen -t ed25519 makes one/.test(none.err)], [3, true]);
  await mkdir(join(directory, ".ssh"), { recursive: true });
  for (const name of ["id_ed25519", "second"])
    await exec(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@laptop", "-f", join(directory, ".ssh", name)]);
  const { stdout } = await exec(["ssh-keygen", "-l", "-f", join(directory, ".ssh/id_ed25519.pub")]);
  const fingerprint = stdout.split(" ")[1]!;
  assert.is((await flynn("key add")).out, `Key me@laptop (${fingerprint}) added.\n`);
  assert.is((await flynn("key add")).code, 5);
  const second = await flynn("key add .ssh/second.pub -n desk");
  assert.is(second.code, 0, second.err);
  assert.match(
    (await flynn("key list")).out,
    new RegExp(`me@laptop +ssh-ed25519 +${fingerprint.replaceAll("+", "\\+")} +admin`),
  );
  const secret = await flynn("key add .ssh/second");
  assert.equal([secret.code, /is a private key: keep it to yourself/.test(secret.err)], [2, true]);
  assert.is((await flynn("key remove desk")).out, "Key desk removed.\n");
  assert.is((await flynn("key remove desk")).code, 3);
  assert.is((await flynn("key add -", { stdin: await readFile(join(directory, ".ssh/second.pub"), "utf8") })).code, 0);
});

test("redeploy of an app to which nothing was pushed says what to type", async () => {
  const { code, err } = await flynn("redeploy -a hello");
  assert.equal([code, err], [5, "error: no push to hello was taken yet. To deploy: git push flynn main\n"]);
});

test("a word of the shell is one word, whatever is in it", async () => {
  for (const word of ["plain", "with space", "it's", '$(id)`id`"\\;&|\n*', ""])
    assert.is((await exec(["sh", "-c", `printf %s ${quoted(word)}`])).stdout, word);
});

test.run();

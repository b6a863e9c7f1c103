// Becomes the sshd of git, in a mount namespace that unshare(1) made for it: there is an account `git` without a password, and
// the relay, Node and the socket's directory are where that account may read them, whatever the modes of the directories they
// lie in. Nothing of the machine outside is changed. Started as
//   unshare --mount --propagation private -- node ssh-server.ts SSHD_CONFIG HOST_KEY_DIR RELAY_DIR DOOR_DIR
import { chmod, copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { exec } from "#lib/exec.ts";
import { readText } from "#lib/files.ts";
import { HOST_KEY_TYPES, hostKeyFile, SESSION_UID, SESSION_USER, VIEW } from "./ssh-config.ts";

const SSHD = "/usr/sbin/sshd";
const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
const run = (...argv: string[]) => exec(argv, { env, timeoutMs: 60_000 });
const bind = (from: string, to: string) => run("mount", "--bind", "--", from, to);

/** Host keys are made once and kept: clients remember them. */
async function makeHostKeys(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  for (const type of HOST_KEY_TYPES) {
    const file = hostKeyFile(directory, type);
    if ((await readText(file)) === undefined) {
      const beside = join(directory, `new_${type}`);
      await rm(beside, { force: true });
      await run(
        "ssh-keygen",
        "-q",
        "-t",
        type,
        ...(type === "rsa" ? ["-b", "3072"] : []),
        "-N",
        "",
        "-C",
        "flynn",
        "-f",
        beside,
      );
      await rename(`${beside}.pub`, `${file}.pub`);
      await rename(beside, file); // last: with it the pair is whole
    }
    await chmod(file, 0o600);
  }
}

/** The machine's accounts and `git`, over /etc/passwd and /etc/shadow in here. */
async function addAccount(directory: string): Promise<void> {
  const others = (await readFile("/etc/passwd", "utf8"))
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith(`${SESSION_USER}:`));
  const account = `${SESSION_USER}:*:${SESSION_UID}:${SESSION_UID}:Flynn git:/:/bin/sh`;
  const files = { passwd: [...others, account].join("\n"), shadow: `${SESSION_USER}:*:1:0:99999:7:::` };
  for (const [name, text] of Object.entries(files)) {
    const file = join(directory, `git-${name}`);
    await rm(file, { force: true });
    await writeFile(file, `${text}\n`, { mode: name === "passwd" ? 0o644 : 0o600 });
    await chmod(file, name === "passwd" ? 0o644 : 0o600);
    if (name === "passwd" || (await readText("/etc/shadow")) !== undefined) await bind(file, `/etc/${name}`);
  }
}

async function makeView(relayDir: string, doorDir: string): Promise<void> {
  await mkdir(VIEW, { recursive: true });
  await mkdir("/run/sshd", { recursive: true, mode: 0o755 }); // where sshd's unprivileged half is shut in
  await run("mount", "-t", "tmpfs", "-o", "mode=755,size=1m", "flynn-git", VIEW);
  const at = (name: string) => join(VIEW, name);
  await mkdir(at("relay"));
  for (const name of await readdir(relayDir)) {
    await copyFile(join(relayDir, name), join(at("relay"), name));
    await chmod(join(at("relay"), name), 0o644);
  }
  await writeFile(at("node"), "");
  await bind(process.execPath, at("node"));
  await mkdir(doorDir, { recursive: true, mode: 0o711 });
  await mkdir(at("door"));
  await bind(doorDir, at("door"));
}

const [config, hostKeyDir, relayDir, doorDir] = process.argv.slice(2);
if (!config || !hostKeyDir || !relayDir || !doorDir) throw new Error("ssh-server.ts needs four paths");
await makeHostKeys(hostKeyDir);
await addAccount(dirname(config));
await makeView(relayDir, doorDir);
// The same process from here on: whoever watches it watches sshd.
process.execve!(SSHD, [SSHD, "-D", "-e", "-f", config], env);

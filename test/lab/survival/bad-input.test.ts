// time limit: 120 s
// What is wrong around the appliance is said before anything starts, with what to do about it; a bad image is refused at the
// upload and leaves nothing behind.
import { readdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { until } from "#lib/time.ts";
import { type Appliance, openAppliance } from "../appliance.ts";
import { writeAppImage } from "../image.ts";
import { openScope, type Scope } from "../scope.ts";
import { ask, leavesNothing } from "./cluster.ts";

interface Context {
  scope: Scope;
  appliance: Appliance;
}

const bad = suite<Context>("survival: bad input");

bad.before(async (context) => {
  context.scope = await openScope();
  context.appliance = await openAppliance(context.scope);
});

bad.after(({ scope }: Partial<Context>) => scope?.close());

const upArgv = ({ appliance }: Context, ...flags: string[]) => [
  "up",
  "--state",
  appliance.stateDir,
  "--address",
  appliance.address,
  ...flags,
];

interface Circumstances {
  env?: NodeJS.ProcessEnv;
  wrapper?: readonly string[];
  exitCode?: number;
}

/** `flynn up` must end by itself, soon, in plain words; answers those. */
async function refused(context: Context, argv: readonly string[], circumstances: Circumstances = {}): Promise<string> {
  const { env = {}, wrapper, exitCode = 1 } = circumstances;
  const options = { timeoutMs: 20_000, env: { ...process.env, NO_COLOR: "1", ...env }, wrapper };
  const { code, stdout, stderr } = await context.appliance.tryFlynn(argv, options);
  assert.is(code, exitCode, stderr);
  assert.is(stdout, "");
  assert.not.match(stderr, /\n {4}at /, "a stack trace is for us, not for people");
  return stderr;
}

/** Runs the rest where these programs cannot be run: a mount namespace in which an empty device lies over each. */
const without = (...programs: string[]) => [
  "unshare",
  "--mount",
  "sh",
  "-e",
  "-c",
  `for program in ${programs.join(" ")}; do mount --bind /dev/null "$program"; done; exec "$@"`,
  "sh",
];

bad("a port that is taken: says which, by whom, and what to do", async (context) => {
  const taken = await context.appliance.lan.spawn(["socat", "TCP-LISTEN:80,reuseaddr,fork", "SYSTEM:true"]);
  const udp = await context.appliance.lan.spawn(["socat", "UDP-LISTEN:69,fork", "SYSTEM:true"]);
  const argv = upArgv(context, "--no-host", "--interface", "br0");
  await listening(context, "tcp", 80);
  await listening(context, "udp", 69);
  const said = await refused(context, argv);
  assert.match(said, new RegExp(`router needs tcp port 80, which socat \\(pid ${taken.pid}\\) has`));
  assert.match(said, /stop it, or choose another: --http-port/);
  assert.match(said, new RegExp(`boot server needs udp port 69, which socat \\(pid ${udp.pid}\\) has`));
  for (const running of [taken, udp]) {
    await running.kill();
    await running.exited;
  }
});

async function listening({ appliance }: Context, protocol: "tcp" | "udp", port: number): Promise<void> {
  const shown = async () =>
    (await appliance.lan.exec(["ss", "-H", "-l", "-n", protocol === "tcp" ? "-t" : "-u"])).stdout.includes(`:${port} `);
  await until(shown, { what: `${protocol} port ${port} in use`, timeoutMs: 30_000 });
}

bad("missing programs: says which packages to install", async (context) => {
  const said = await refused(context, upArgv(context, "--no-host"), {
    wrapper: without("/usr/sbin/haproxy", "/usr/bin/skopeo"),
  });
  assert.match(said, /the program haproxy is missing\n +apt-get install haproxy/);
  assert.match(said, /the program skopeo is missing\n +apt-get install skopeo/);
  assert.not.match(said, /docker-registry/);
});

bad("no Docker: says where it was looked for and how to go on", async (context) => {
  const socket = join(context.scope.folder, "no-docker.sock");
  const none = await refused(context, upArgv(context), { env: { FLYNN_UP_DOCKER_SOCKET: socket } });
  assert.ok(none.includes(`the local Docker does not answer at ${socket}: there is no such socket`), none);
  assert.match(none, /apt-get install docker\.io; systemctl start docker; or .*--no-host/);
  const mute = await context.appliance.lan.spawn(["socat", `UNIX-LISTEN:${socket},fork`, "SYSTEM:sleep 60"]);
  const dead = await refused(context, upArgv(context), { env: { FLYNN_UP_DOCKER_SOCKET: socket } });
  assert.match(dead, /the local Docker does not answer at .*: no answer within 5 s/);
  await mute.kill();
});

bad("a truncated image archive is refused with the reason and leaves nothing", async (context) => {
  const { scope, appliance } = context;
  await appliance.start();
  await ask(appliance, "POST", "/v1/apps", { name: "hello" });
  const { path, sizeBytes } = await writeAppImage(join(scope.folder, "cut.tar"), "hello");
  for (const share of [0.9, 0.5, 0.01]) {
    await truncate(path, Math.floor(sizeBytes * share));
    const { status, body } = await appliance.upload<{ code: string; message: string }>("hello", path);
    assert.is(status, 400, JSON.stringify(body));
    assert.is(body.code, "invalid");
    assert.match(body.message, /archive/);
  }
  await nothingKept(context);
});

bad("what is no archive at all is refused", async (context) => {
  const path = join(context.scope.folder, "text.tar");
  for (const content of ["", "hello\n", "\0".repeat(10_240)]) {
    await writeFile(path, content);
    const { status, body } = await context.appliance.upload<{ code: string; message: string }>("hello", path);
    assert.is(status, 400, JSON.stringify(body));
    assert.match(body.message, /archive|the upload is empty/, JSON.stringify(body));
  }
  await nothingKept(context);
});

bad("an image for another architecture is refused: which it is for, and what the hosts are", async (context) => {
  const { scope, appliance } = context;
  const { path } = await writeAppImage(join(scope.folder, "arm.tar"), "hello", { architecture: "s390x" });
  const { status, body } = await appliance.upload<{ code: string; message: string }>("hello", path);
  assert.is(status, 400);
  assert.match(body.message, /the image is for linux\/s390x, hosts are linux\/amd64 or linux\/arm64/);
  await nothingKept(context);
});

async function nothingKept({ appliance }: Context): Promise<void> {
  assert.equal(await readdir(join(appliance.stateDir, "control/registry-client/uploads")), []);
  const { items } = await ask<{ items: unknown[] }>(appliance, "GET", "/v1/apps/hello/releases");
  assert.equal(items, []);
}

bad("a second appliance on the same state is refused, and the first does not mind", async (context) => {
  const said = await refused(context, upArgv(context, "--no-host"), { exitCode: 5 });
  assert.match(
    said,
    new RegExp(
      `runs already \\(pid ${context.appliance.up.pid}\\); end it with \`flynn down --state ${context.appliance.stateDir}\``,
    ),
  );
  assert.is((await context.appliance.api("GET", "/v1/status")).status, 200);
});

bad("Ctrl-C ends the appliance cleanly and a second start goes on where it was", async ({ appliance }) => {
  await appliance.stop();
  const { code } = await appliance.up.exited;
  assert.is(code, 130);
  assert.equal((await appliance.lan.exec(["ss", "-H", "-l", "-n", "-t"])).stdout, "");
  await appliance.start();
  assert.is((await ask<{ name: string }>(appliance, "GET", "/v1/apps/hello")).name, "hello");
});

bad("nothing is left on the machine", ({ scope }) => leavesNothing(scope));

bad.run();

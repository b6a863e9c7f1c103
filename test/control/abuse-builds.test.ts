// time limit: 120 s
// Hostile sources and variables: what an app brings along is data to control. No command of it is run here, no variable of it
// reaches a program of the platform.
import { channel, subscribe } from "node:diagnostics_channel";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createRelease, getEnv, updateEnv } from "#api/apps.ts";
import { isFault } from "#api/fault.ts";
import { listJobs } from "#api/jobs.ts";
import { listEvents } from "#api/status.ts";
import { withWorld } from "./builds/world.ts";
import { gitRig } from "./git/git-rig.ts";

interface Started {
  pid?: number;
  spawnargs: string[];
}
const started: Started[] = [];
subscribe("child_process", (message) => started.push((message as { process: Started }).process));

const HOSTILE = {
  LD_PRELOAD: "/app/evil.so",
  LD_LIBRARY_PATH: "/app",
  PATH: "/app/evil",
  BASH_ENV: "/app/evil.sh",
  ENV: "/app/evil.sh",
  NODE_OPTIONS: "--require=/app/evil.js",
  NODE_EXTRA_CA_CERTS: "/app/evil.pem",
  GIT_SSH_COMMAND: "touch /tmp/evil",
  GIT_CONFIG_COUNT: "1",
  GIT_CONFIG_KEY_0: "core.fsmonitor",
  GIT_CONFIG_VALUE_0: "touch /tmp/evil",
  HTTPS_PROXY: "http://127.0.0.1:1",
  SHELLOPTS: "xtrace",
  IFS: "/",
  QUOTES: `'"\`$(id)\n=export X=1`,
};

/** A folder that a command would write into if it were run, whatever runs it. */
async function withMark(body: (mark: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "abuse-"));
  const mark = join(folder, "ran");
  try {
    await body(mark);
    assert.not.ok(existsSync(mark), "a command of the source was run");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test("no command of a Procfile or app.json runs on control: web, release, health, cron, scripts and buildpacks go to hosts as they are", () =>
  withMark((mark) =>
    withWorld(async ({ control, host, create, send, ended, log }) => {
      const touch = `touch ${mark}`;
      const files = {
        Procfile: `web: $(${touch}); \`${touch}\`; ${touch}\nworker: ; ${touch} #\nrelease: ${touch} && false || ${touch}\n`,
        "app.json": JSON.stringify({
          env: { MADE: { value: `$(${touch})` } },
          formation: { web: { quantity: 1 } },
          scripts: { dokku: { predeploy: touch, postdeploy: touch }, postdeploy: touch },
          healthchecks: { web: [{ type: "startup", path: `/;${touch.replaceAll(" ", "%20")}` }] },
          cron: [{ command: touch, schedule: "* * * * *" }],
        }),
        "bin/pre_compile": `#!/bin/sh\n${touch}\n`,
        ".profile": touch,
        ".profile.d/x.sh": touch,
        ".git/hooks/post-checkout": `#!/bin/sh\n${touch}\n`,
        ".gitattributes": "* filter=evil export-subst\n",
        ".flynn/x": touch,
      };
      await create("hello");
      const before = started.length;
      const build = await ended("hello", (await send("hello", files)).id);
      assert.is(build.state, "succeeded", `${build.reason}\n${await log("hello", build.id)}`);
      assert.equal(
        started.slice(before).map(({ spawnargs }) => spawnargs),
        [],
        "control started a program",
      );
      assert.equal(host.failures, []);
      const { items } = await control.admin.call(listJobs, { params: { app: "hello" }, query: { all: true } });
      const release = items.find(({ process }) => process === "release");
      assert.ok(release, "the release command ran as a job");
      const wanted = host.target!.jobs.find(({ process }) => process === "web")!;
      assert.equal(wanted.command, [`$(${touch}); \`${touch}\`; ${touch}`]);
    }),
  ));

test("a variable that loaders, shells, Node or git read reaches the app's jobs as data, and nothing of the platform", () =>
  withMark((mark) =>
    withWorld(async ({ control, host, create, send, ended }) => {
      const own = { ...process.env };
      await create("hello");
      const env = { ...HOSTILE, GIT_SSH_COMMAND: `touch ${mark}`, GIT_CONFIG_VALUE_0: `touch ${mark}` };
      await control.admin.call(updateEnv, { params: { app: "hello" }, body: { env } });
      const before = started.length;
      const build = await ended("hello", (await send("hello", { Procfile: "web: x\n" })).id);
      assert.is(build.state, "succeeded", build.reason);
      assert.equal(started.slice(before), []);
      assert.equal({ ...process.env }, own);
      assert.equal((await control.admin.call(getEnv, { params: { app: "hello" } })).env, env);
      const job = host.target!.jobs.find(({ process }) => process === "web")!;
      for (const [name, value] of Object.entries(env)) assert.is(job.env[name], value);
      // Not in what people read of it.
      const events = JSON.stringify(await control.admin.call(listEvents, { query: {} }));
      for (const value of Object.values(env)) if (value.length > 4) assert.not.match(events, value);
    }),
  ));

test("one variable of a megabyte is refused whole, and so are many that make one", () =>
  withWorld(async ({ control, create }) => {
    await create("hello");
    const set = (env: Record<string, string>) =>
      control.admin.call(createRelease, { params: { app: "hello" }, body: { env } }).then(
        () => "taken",
        (error: unknown) => (isFault(error) ? error.code : String(error)),
      );
    assert.is(await set({ BIG: "x".repeat(1_000_000) }), "invalid");
    assert.is(await set({ BIG: "x".repeat(2 << 20) }), "too-large");
    const many = Object.fromEntries(Array.from({ length: 1_000 }, (_, n) => [`V${n}`, "x".repeat(900)]));
    assert.is(await set(many), "too-large");
    for (const name of ["", "A=B", "A B", "A\nB", "A\u0000B", "-A", "\u0430", "A".repeat(129)])
      assert.is(await set({ [name]: "x" }), "invalid", JSON.stringify(name));
    assert.is(await set({ A: "x\u0000LD_PRELOAD=y" }), "invalid");
    assert.equal((await control.admin.call(getEnv, { params: { app: "hello" } })).env, {});
  }));

function environOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8");
  } catch {
    return undefined;
  }
}

test("git that serves a push sees no variable of the app nor of who started control", async () => {
  const foreign = {
    GIT_SSH_COMMAND: "false",
    GIT_CONFIG_GLOBAL: "/nowhere",
    LD_PRELOAD_TEST: "evil",
    BASH_ENV: "/nowhere",
  };
  Object.assign(process.env, foreign);
  const it = await gitRig();
  try {
    await it.app("hello");
    await it.rig.admin.call(createRelease, { params: { app: "hello" }, body: { env: HOSTILE } });
    const seen: { argv: string; environ: string }[] = [];
    const look = (message: unknown) => {
      const child = (message as { process: Started }).process;
      // The channel speaks before the program is started; one that is over by then was seen in others of its kind.
      setImmediate(() => {
        const environ = child.pid === undefined ? undefined : environOf(child.pid);
        if (environ !== undefined) seen.push({ argv: child.spawnargs.join(" "), environ });
      });
    };
    channel("child_process").subscribe(look);
    const work = await it.work("hello", { Procfile: "web: x\n" });
    const pushed = await it.gitIn(work, "push", it.remote("hello"), "main");
    channel("child_process").unsubscribe(look);
    assert.is(pushed.code, 0, pushed.err);
    const ours = seen.filter(({ argv }) => argv.includes(it.stateDir));
    assert.ok(ours.length > 0, seen.map(({ argv }) => argv).join("\n"));
    for (const { argv, environ } of ours) {
      assert.not.match(environ, /evil|GIT_SSH_COMMAND|BASH_ENV|NODE_OPTIONS|xtrace/, argv);
      assert.not.match(argv, /evil/);
    }
  } finally {
    for (const name of Object.keys(foreign)) delete process.env[name];
    await it.close();
  }
});

test.run();

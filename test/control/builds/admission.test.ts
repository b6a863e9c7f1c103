// time limit: 120 s
// A push whose branch cannot be moved after all, in a whole control with a real git: what was built is not deployed.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { listReleases } from "#api/apps.ts";
import { listBuilds } from "#api/builds.ts";
import { type ExecError, exec } from "#lib/exec.ts";
import { NODE_APP, withWorld } from "./world.ts";

test("a push that loses its branch's lock to another git while it builds is refused in words, and nothing of it is deployed", () =>
  withWorld(async ({ control, host, create }) => {
    const folder = await mkdtemp(join(tmpdir(), "admission-"));
    try {
      await create("hello");
      const caFile = join(folder, "ca.pem");
      await writeFile(caFile, control.caPem);
      const work = join(folder, "work");
      await mkdir(work);
      const git = (...args: string[]) =>
        exec(
          ["git", "-C", work, "-c", "user.name=t", "-c", "user.email=t@t", "-c", `http.sslCAInfo=${caFile}`, ...args],
          {
            env: { PATH: process.env["PATH"], HOME: folder, GIT_TERMINAL_PROMPT: "0", LC_ALL: "C.UTF-8" },
          },
        );
      await git("init", "-q", "-b", "main");
      for (const [name, text] of Object.entries(NODE_APP)) await writeFile(join(work, name), text);
      await git("add", ".");
      await git("commit", "-qm", "one");
      const url = new URL("/git/hello.git", control.url);
      Object.assign(url, { username: "x", password: control.token });
      const repositories = join(control.config.stateDir, "git");
      let lock = "";
      host.script = () => ({
        output: "-----> Node.js app detected\n",
        during: async () => {
          const name = (await readdir(repositories)).find((each) => each.endsWith(".git"))!;
          lock = join(repositories, name, "refs/heads/main.lock");
          for (const pid of (await readdir("/proc")).filter((each) => /^\d+$/.test(each))) {
            const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
            if (line.includes("update-ref") && line.includes(repositories)) process.kill(Number(pid), "SIGKILL");
          }
          await writeFile(lock, "another's\n");
        },
      });
      const refused = await git("push", url.href, "main").then(
        () => "it was taken",
        (error: ExecError) => error.stderr,
      );
      assert.match(refused, /nothing was deployed: branch main is locked by another git on the appliance/);
      assert.match(refused, /remote rejected\] main -> main \(build 1 failed\)/);
      const { items: builds } = await control.admin.call(listBuilds, { params: { app: "hello" }, query: {} });
      const { items: releases } = await control.admin.call(listReleases, { params: { app: "hello" } });
      assert.equal([builds[0]!.state, releases], ["failed", []]);
      await rm(lock);
      host.script = () => ({ output: "-----> Node.js app detected\n" });
      await git("push", url.href, "main");
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }));

test.run();

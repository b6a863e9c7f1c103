// time limit: 120 s
// kill -9 of control in the middle of writes: whatever was answered 201 is there after the next start.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp, listApps } from "#api/apps.ts";
import { createClient } from "#api/client.ts";
import { stopChild } from "#lib/exec.ts";
import { until } from "#lib/time.ts";

const MAIN = new URL("../../control/main.ts", import.meta.url).pathname;

test("every app that was answered is there after kill -9, twice over", async () => {
  const directory = await mkdtemp(join(tmpdir(), "control-kill-"));
  const children: ChildProcess[] = [];
  try {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    await new Promise((resolve) => server.close(resolve));
    const env = {
      ...process.env,
      FLYNN_CONTROL_STATE_DIR: directory,
      FLYNN_CONTROL_ADDRESS: "127.0.0.1",
      FLYNN_CONTROL_PORT: String(port),
      FLYNN_CONTROL_ADVERTISE: '["127.0.0.1"]',
      FLYNN_CONTROL_LOG_LEVEL: "warn",
    };
    let said = "";
    const start = () => {
      const child = spawn(process.execPath, [MAIN], { env, stdio: ["ignore", "pipe", "pipe"] });
      child.stdout.on("data", (chunk: Buffer) => {
        said += chunk;
      });
      child.stderr.on("data", (chunk: Buffer) => {
        said += chunk;
      });
      children.push(child);
      return child;
    };
    let child = start();
    const first = await until(() => /"adminToken":"([^"]+)"/.exec(said), {
      what: `start (${said})`,
      timeoutMs: 30_000,
    });
    const caPem = await readFile(join(directory, "pki/ca.pem"), "utf8");
    const answered = new Set<string>();
    for (let round = 0; round < 2; round++) {
      const client = createClient({ urls: [`https://127.0.0.1:${port}`], caPem, token: first[1], timeoutMs: 5_000 });
      const enough = answered.size + 60;
      const writer = async (n: number) => {
        for (let at = 0; ; at++) {
          const name = `app-${round}-${n}-${at}`;
          await client.call(createApp, { body: { name } });
          answered.add(name);
        }
      };
      const writers = [0, 1, 2, 3].map((n) => writer(n).catch(() => undefined));
      await until(() => answered.size >= enough, { what: "writes", timeoutMs: 20_000, everyMs: 2 });
      child.kill("SIGKILL");
      await Promise.all(writers);
      client.close();
      child = start();
      const again = createClient({ urls: [`https://127.0.0.1:${port}`], caPem, token: first[1], timeoutMs: 5_000 });
      const kept = await until(() => again.call(listApps, { query: { limit: 1000 } }), {
        what: `restart (${said})`,
        timeoutMs: 20_000,
      });
      again.close();
      const names = new Set(kept.items.map(({ name }) => name));
      assert.equal(
        [...answered].filter((name) => !names.has(name)),
        [],
      );
    }
    child.kill("SIGTERM");
    await until(() => child.exitCode !== null, { what: "a clean end", timeoutMs: 15_000 });
    assert.is(child.exitCode, 0);
  } finally {
    for (const each of children) await stopChild(each, 1_000, "SIGKILL");
    await rm(directory, { recursive: true, force: true });
  }
});

test.run();

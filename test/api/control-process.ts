// A real control plane as a child process on loopback, with the means to join it.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { type Client, createClient } from "#api/client.ts";
import { createJoinToken, type JoinRole } from "#api/members.ts";
import { stopChild } from "#lib/exec.ts";
import { readJson } from "#lib/files.ts";
import { until } from "#lib/time.ts";
import { freePort } from "../lib/free-port.ts";

const PROGRAM = fileURLToPath(new URL("../../control/main.ts", import.meta.url));

export interface ControlProcess {
  /** A directory for the test, control's own state in `control/`. */
  root: string;
  caDirectory: string;
  url: string;
  caPem: string;
  admin: Client;
  token(role: JoinRole): Promise<string>;
  /** Ends it and starts it again, on the same state. */
  restart(between?: () => Promise<void>): Promise<void>;
}

/** Runs the body with a control of its own and ends it whatever happens. */
export async function withControl(
  body: (control: ControlProcess) => Promise<void>,
  { within = tmpdir() } = {},
): Promise<void> {
  const root = await mkdtemp(join(within, "flynn-control-"));
  const stateDir = join(root, "control");
  const port = await freePort();
  const file = join(root, "control.yaml");
  await writeFile(file, JSON.stringify({ stateDir, address: "127.0.0.1", port, advertise: ["127.0.0.1"] }));
  let said = "";
  const ready = join(stateDir, "ready.json");
  const start = async () => {
    const child = spawn(process.execPath, [PROGRAM, "--config", file], { stdio: ["ignore", "pipe", "pipe"] });
    const errors = text(child.stderr);
    child.stdout.on("data", (chunk) => {
      said += String(chunk);
    });
    const isUp = async () => (await readJson<{ pid: number }>(ready))?.pid === child.pid;
    try {
      await until(async () => child.exitCode !== null || (await isUp()), { what: "control starts", timeoutMs: 60_000 });
      if (child.exitCode !== null) throw new Error(`control ended: ${await errors}`);
    } catch (error) {
      await stopChild(child, 10_000);
      throw error;
    }
    return child;
  };
  let child: Awaited<ReturnType<typeof start>> | undefined;
  let admin: Client | undefined;
  try {
    child = await start();
    const url = `https://127.0.0.1:${port}`;
    const caPem = await readFile(join(stateDir, "pki", "ca.pem"), "utf8");
    const token = await until(() => /"adminToken":"([^"]+)"/.exec(said)?.[1], {
      what: "the admin token",
      timeoutMs: 10_000,
    });
    const client = createClient({ urls: [url], caPem, token });
    admin = client;
    await body({
      root,
      caDirectory: join(stateDir, "ca"),
      url,
      caPem,
      admin,
      token: async (role) => (await client.call(createJoinToken, { body: { role } })).token,
      async restart(between) {
        await stopChild(child!, 10_000);
        await between?.();
        child = await start();
      },
    });
  } finally {
    admin?.close();
    if (child) await stopChild(child, 10_000);
    await rm(root, { recursive: true, force: true });
  }
}

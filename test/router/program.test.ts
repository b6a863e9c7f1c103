// time limit: 120 s
// From the API to the wire: a real control is told, the router as a program follows it, HAProxy answers.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp } from "#api/apps.ts";
import { createCertificate, deleteCertificate, updateCertificate } from "#api/certificates.ts";
import { createJoinToken } from "#api/members.ts";
import { updatePages } from "#api/pages.ts";
import { createRoute, updateRoute } from "#api/routes.ts";
import { stopChild } from "#lib/exec.ts";
import { signalProcess } from "#lib/process-id.ts";
import { until } from "#lib/time.ts";
import { withRig } from "../control/rig.ts";
import { makeCertificate } from "../control/routing/certificates.ts";
import { freePort } from "../lib/free-port.ts";
import { get } from "./rig.ts";
import { handshake } from "./secure.ts";

const MAIN = new URL("../../router/main.ts", import.meta.url).pathname;

test("a route, its certificate, redirect, maintenance and a port work seconds after the API was told", () =>
  withRig(
    async (rig) => {
      const { admin, directory } = rig;
      const stateDir = join(directory, "router-program");
      const [httpPort, httpsPort, tcpPort] = [await freePort(), await freePort(), await freePort()];
      await admin.call(createApp, { body: { name: "hello" } });
      const route = await admin.call(createRoute, { body: { app: "hello", domain: "hello.test" } });
      const config = {
        controlUrls: [rig.url],
        caPem: rig.caPem,
        joinToken: (await admin.call(createJoinToken, { body: { role: "router" } })).token,
        stateDir,
        bind: "127.0.0.1",
        httpPort,
        httpsPort,
        manageRoutes: false,
      };
      await writeFile(join(directory, "router.json"), JSON.stringify(config), { mode: 0o600 });
      const child = spawn(process.execPath, [MAIN, "--config", join(directory, "router.json")], {
        stdio: ["ignore", "pipe", "pipe"],
      });
      let said = "";
      for (const stream of [child.stdout, child.stderr])
        stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
      const closed = once(child, "close");
      const soon = (what: string, claim: () => Promise<boolean>) =>
        until(() => claim().catch(() => false), {
          what: `${what}; it said ${said.slice(-2_000)}`,
          timeoutMs: 20_000,
          everyMs: 50,
        });
      try {
        const body = async () => (await get(httpPort, "hello.test")).body;
        await soon("the route", async () => (await body()) === "no job of hello is up\n");
        const [first, second] = await Promise.all([1, 2].map(() => makeCertificate({ names: ["hello.test"] })));
        const upload = (made: typeof first) => ({ chain: made!.certificate, key: made!.key });
        const shown = async () =>
          (await handshake(httpsPort, "hello.test")).fingerprint.replaceAll(":", "").toLowerCase();
        const added = await admin.call(createCertificate, { body: upload(first) });
        await soon("the certificate", async () => (await shown()) === added.sha256);
        const params = { id: added.id };
        const renewed = await admin.call(updateCertificate, { params, body: upload(second) });
        await soon("the new certificate", async () => (await shown()) === renewed.sha256);
        await admin.call(updateRoute, { params: { id: route.id }, body: { tls: "redirect" } });
        await soon("the redirect", async () => (await get(httpPort, "hello.test")).status === 308);
        await admin.call(updateRoute, { params: { id: route.id }, body: { tls: null } });
        await admin.call(updatePages, {
          params: { app: "hello" },
          body: { maintenance: true, message: "gone fishing" },
        });
        await soon("maintenance", async () => (await body()).includes("gone fishing"));
        await admin.call(createRoute, { body: { app: "hello", type: "tcp", port: tcpPort } });
        await soon("the port", () => accepts(tcpPort));
        await assertSecret(stateDir, second!.key.split("\n")[1]!);
        assert.not.match(said, second!.key.split("\n")[1]!);
        await admin.call(deleteCertificate, { params });
        await soon("the end of the certificate", async () =>
          (await handshake(httpsPort, "hello.test")).names.includes("router.invalid"),
        );
        await soon(
          "the end of its file",
          async () => (await readdir(join(stateDir, "haproxy", "certificates"))).length === 0,
        );
      } finally {
        await stopChild(child, 10_000);
        await closed;
        const left = await readFile(join(stateDir, "haproxy", "haproxy.json"), "utf8").catch(() => '{"workers":[]}');
        const { master, workers } = JSON.parse(left) as { master?: Leftover; workers: Leftover[] };
        for (const each of master ? [master, ...workers] : workers) await signalProcess(each, "SIGKILL");
      }
    },
    { tcpPorts: "1024-65535" },
  ));

type Leftover = { pid: number; startTicks: number };

/** Every file that holds the key is readable by the router's account alone. */
async function assertSecret(stateDir: string, secret: string): Promise<void> {
  const holders: string[] = [];
  for (const entry of await readdir(stateDir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    if (!(await readFile(path, "latin1")).includes(secret)) continue;
    holders.push(entry.name);
    assert.is((await stat(path)).mode & 0o077, 0, path);
  }
  assert.is(holders.length, 2, `the target and the PEM: ${holders.join(", ")}`);
}

async function accepts(port: number): Promise<boolean> {
  const socket = connectTcp({ host: "127.0.0.1", port });
  try {
    await once(socket, "connect");
    return true;
  } finally {
    socket.destroy();
  }
}

test.run();

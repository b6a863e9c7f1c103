// A whole hostd whose certificate falls due while it runs, against a real control: nothing is restarted and nothing breaks.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { connect } from "node:tls";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createClient } from "#api/client.ts";
import { hostTarget } from "#api/host-agents.ts";
import { getHost } from "#api/hosts.ts";
import { type Identity, loadIdentity } from "#api/join.ts";
import { createLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { loadHostdConfig } from "../../hostd/config.ts";
import { fakeEngine } from "../../hostd/engine/fake.ts";
import { runHostd } from "../../hostd/program.ts";
import { withControl } from "../api/control-process.ts";

const DAY_MS = 86_400_000;

/** PEM of the certificate that the log server shows. */
function presented(port: number, identity: Identity): Promise<string> {
  const { certificate: cert, key, caPem: ca } = identity;
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, cert, key, ca, checkServerIdentity: () => undefined }, () => {
      resolve(socket.getPeerX509Certificate()!.toString());
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

test("a running hostd renews: reports, log server and Docker's registry files go over to the new certificate", () =>
  withControl(async (control) => {
    const said: string[] = [];
    const destination = new Writable({
      write(chunk, _, done) {
        said.push(String(chunk));
        done();
      },
    });
    const file = join(control.root, "hostd.json");
    const stateDir = join(control.root, "hostd");
    const certsDir = join(control.root, "certs.d");
    const settings = {
      controlUrls: [control.url],
      caPem: control.caPem,
      joinToken: await control.token("host"),
      name: "box-1",
      stateDir,
      runDir: join(control.root, "run"),
      dockerCertsDir: certsDir,
      address: "127.0.0.1",
      manageNetwork: false,
      port: 0,
      tags: { zone: "a" },
    };
    await writeFile(file, JSON.stringify(settings));
    const controller = new AbortController();
    const engine = fakeEngine();
    let aheadMs = 0;
    let port = 0;
    const { signal } = controller;
    const start = () =>
      runHostd(loadHostdConfig({ file, env: {} }), signal, {
        engine,
        log: createLog("hostd", { destination }),
        onListen: (listening) => {
          port = listening;
        },
        nowMs: () => Date.now() + aheadMs,
      });
    const happens = <T>(what: string, probe: () => T | Promise<T>) =>
      until(probe, { what, timeoutMs: 30_000, everyMs: 20 });

    // The clock is ahead from the start, so that the first look finds the certificate due.
    aheadMs = 22 * DAY_MS;
    const running = start();
    running.catch(() => undefined);
    try {
      await happens("the renewal", () => said.some((line) => line.includes("certificate renewed")));
      aheadMs = 0;
      const identity = (await loadIdentity(join(stateDir, "identity")))!;
      const same = (await presented(port, identity)).trim() === identity.certificate.trim();
      assert.ok(same, "the log server shows the new certificate");
      const { registry } = await happens("the target", () => readTarget(stateDir));
      const kept = (name: string) => readFile(join(certsDir, registry, name), "utf8").catch(() => "");
      await happens("Docker's new key", async () => (await kept("client.key")) === identity.key);
      assert.is(await kept("client.cert"), identity.certificate);
      const host = () => control.admin.call(getHost, { params: { id: identity.id } });
      await happens("the host ready", async () => (await host()).state === "ready");
      assert.equal((await host()).tags, { zone: "a" });
      const { lastSeenAt } = await host();
      await happens("another report", async () => (await host()).lastSeenAt !== lastSeenAt);
      for (const trouble of ["did not reach control", "control is away", "a loop failed", "not written"])
        assert.not.ok(
          said.some((line) => line.includes(trouble)),
          `${trouble}:\n${said.join("")}`,
        );
      const client = createClient({ urls: [control.url], caPem: control.caPem, identity });
      await client.call(hostTarget, { params: { id: identity.id } });
      client.close();
    } finally {
      controller.abort();
      await running;
    }
  }));

async function readTarget(stateDir: string): Promise<{ registry: string } | undefined> {
  const text = await readFile(join(stateDir, "target.json"), "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as { registry: string });
}

test.run();

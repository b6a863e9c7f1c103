// The router as a program, with a certificate that is due at its start, against a real control.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createClient } from "#api/client.ts";
import { ensureIdentity, loadIdentity } from "#api/join.ts";
import { routerTarget } from "#api/router-agents.ts";
import { stopChild } from "#lib/exec.ts";
import { signalProcess } from "#lib/process-id.ts";
import { until } from "#lib/time.ts";
import { newCsr } from "#lib/x509.ts";
import { openAuthority } from "../../control/identity/authority.ts";
import { withControl } from "../api/control-process.ts";
import { freePort } from "../lib/free-port.ts";

const MAIN = new URL("../../router/main.ts", import.meta.url).pathname;
const QUARTER_HOUR_DAYS = 1 / 96;

test("a router renews while it serves, and control takes its reports over the new certificate only", () =>
  withControl(async ({ root, url, caPem, caDirectory, token }) => {
    const directory = join(root, "router");
    const joined = await ensureIdentity({
      directory,
      controlUrls: [url],
      caPem,
      role: "router",
      name: "router",
      token: await token("router"),
      signal: AbortSignal.timeout(30_000),
    });
    // The same key in a certificate that began an hour ago and ends in a quarter.
    const authority = await openAuthority(caDirectory);
    const csrPem = await newCsr(joined.key, joined.id);
    const { id } = joined;
    const ending = await authority.issueMember({ role: "router", id, csrPem, days: QUARTER_HOUR_DAYS });
    const { key, ...rest } = { ...joined, certificate: ending.certificate, expiresAt: ending.expiresAt };
    await writeFile(join(directory, "identity.json"), JSON.stringify(rest));

    const httpPort = await freePort();
    const config = {
      controlUrls: [url],
      caPem,
      stateDir: directory,
      bind: "127.0.0.1",
      httpPort,
      httpsPort: 0,
      manageRoutes: false,
    };
    await writeFile(join(root, "router.json"), JSON.stringify(config));
    const child = spawn(process.execPath, [MAIN, "--config", join(root, "router.json")], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const closed = once(child, "close");
    try {
      await until(() => said.includes("certificate renewed"), { what: `renewal in ${said}`, timeoutMs: 30_000 });
      const renewed = (await loadIdentity(directory))!;
      assert.is(renewed.id, id);
      assert.is.not(renewed.key, key);
      const ask = async (identity: { certificate: string; key: string }) => {
        const client = createClient({ urls: [url], caPem, identity });
        await client.call(routerTarget, { params: { id } }).finally(() => client.close());
      };
      await ask(renewed);
      const error = await ask({ certificate: ending.certificate, key }).catch((caught: unknown) => caught);
      assert.match((error as Error).message, /not good any more/);
      assert.not.match(said, /control is away/);
      assert.match(said, /router serves/);
    } finally {
      await stopChild(child, 10_000);
      await closed;
      const left = await readFile(join(directory, "haproxy", "haproxy.json"), "utf8").catch(() => undefined);
      const { master, workers } = JSON.parse(left ?? '{"workers":[]}') as Record<"master", Leftover | undefined> &
        Record<"workers", Leftover[]>;
      for (const each of master ? [master, ...workers] : workers) await signalProcess(each, "SIGKILL");
    }
  }));

type Leftover = Parameters<typeof signalProcess>[0];

test.run();

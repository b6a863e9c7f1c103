// What others wrote to find out whether HTTP/2 and WebSocket are spoken as their RFCs say, with the router between: h2spec (a Go module,
// built here) and both ends of WebSocket by Debian's python3-websockets.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ExecError, exec, stopChild } from "#lib/exec.ts";
import { origin, type Rig, startRig, target } from "../router/rig.ts";
import { ROOT } from "./run-tests.ts";
import type { Soak } from "./soaks.ts";

const H2SPEC = { module: "github.com/summerwind/h2spec", version: "v2.2.1+incompatible" };
const SCRIPT = join(ROOT, "test/soak/websocket.py");
/** Debian's: another Python on the machine does not have its packages. */
const PYTHON = "/usr/bin/python3";

export const protocols: Soak = {
  what: "h2spec, and both ends of WebSocket by python3-websockets, through the router",
  covers: ["router", "test/soak/protocols.ts", "test/soak/websocket.py"],
  async run({ signal, say }) {
    const h2spec = await buildH2spec(signal, say);
    const job = await origin("h2spec");
    const sockets = spawn(PYTHON, [SCRIPT, "serve"], { stdio: ["pipe", "pipe", "ignore"] });
    let rig: Rig | undefined;
    try {
      const [port] = (await once(createInterface(sockets.stdout), "line", { signal })) as [string];
      rig = await startRig({ https: true });
      await rig.serve(
        target(1, [
          { app: "h2", routes: ["127.0.0.1"], jobs: [job] },
          { app: "ws", routes: ["ws.test"], jobs: [{ port: Number(port) }] },
        ]),
      );
      // Over TLS: a plain port speaks HTTP/1.1 as well, so that a preface that is none of HTTP/2 is answered in that.
      const tls = await http2(h2spec, ["-p", String(rig.httpsPort), "-t", "-k"], signal);
      say(`h2spec: ${tls} passed`);
      const asked = await exec([PYTHON, SCRIPT, "ask", String(rig.port), String(rig.httpsPort)], {
        signal,
        timeoutMs: 20 * 60_000,
      });
      const { passed, failed } = JSON.parse(asked.stdout) as { passed: number; failed: string[] };
      if (failed.length > 0) throw new Error(`WebSocket:\n${failed.join("\n")}`);
      say(`WebSocket: ${passed} passed`);
      return { done: true, figures: { h2spec: tls, websocket: passed } };
    } finally {
      await rig?.end();
      await stopChild(sockets);
      await job.close();
    }
  },
};

async function buildH2spec(signal: AbortSignal, say: (line: string) => void): Promise<string> {
  const folder = join(ROOT, "test/.cache/soak");
  const binary = join(folder, "h2spec");
  if (existsSync(binary)) return binary;
  await mkdir(folder, { recursive: true });
  say(`builds ${H2SPEC.module} ${H2SPEC.version}`);
  await exec(["go", "install", `${H2SPEC.module}/cmd/h2spec@${H2SPEC.version}`], {
    env: { ...process.env, GOBIN: folder },
    signal,
    timeoutMs: 15 * 60_000,
  });
  return binary;
}

/** It sends 20 KB in one frame, which is more than the usual 16 KiB and less than the 48 KiB that a router says it takes. */
const SMALLER_THAN_OURS = /^3: Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE$/;

/** How many tests passed. Throws when another than the one above did not, with h2spec's own words. */
async function http2(h2spec: string, argv: readonly string[], signal: AbortSignal): Promise<number> {
  const command = [h2spec, "--strict", "-h", "127.0.0.1", "-o", "10", ...argv];
  const text = await exec(command, { signal, timeoutMs: 20 * 60_000 }).then(
    ({ stdout }) => stdout,
    (error: unknown) => {
      if (error instanceof ExecError && error.exitCode === 1) return error.stdout; // some failed
      throw error;
    },
  );
  const [, passed] = /\d+ tests, (\d+) passed, 0 skipped, \d+ failed/.exec(text) ?? [];
  const failed = [...text.slice(text.indexOf("Failures:")).matchAll(/^ *\u00d7 (.*)$/gm)].map(([, title]) =>
    title!.trim(),
  );
  const isWrong = failed.some((title) => !SMALLER_THAN_OURS.test(title));
  if (passed === undefined || isWrong) throw new Error(`h2spec: ${failed.join("; ")}`, { cause: text.slice(-8_000) });
  return Number(passed);
}

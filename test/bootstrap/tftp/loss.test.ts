// time limit: 420 s
// Real clients under packet loss, server and clients in a network of their own that loses packets at random (iptables).
// The network is the server process's (`unshare --net`): it goes when the process goes, whatever happens.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec, stopChild } from "#lib/exec.ts";
import { deadline } from "#lib/time.ts";
import { content } from "./content.ts";
import { fetchArgv, type RealClient } from "./real-clients.ts";
import type { ServeOptions } from "./serve.ts";

const FILE = content(200 * 1024);
// atftp answers no repeated DATA: each ACK it loses costs its own timeout, 5 s.
const CLIENTS: [RealClient, { blksize?: number; windowsize?: number }][] = [
  ["curl", { blksize: 512 }],
  ["curl", { blksize: 1468 }],
  ["tftp-hpa", {}],
  ["atftp", { blksize: 1468 }],
  ["atftp", { blksize: 512, windowsize: 4 }],
  ["atftp", { blksize: 1468, windowsize: 16 }],
];
const RUNS = 2;

for (const loss of [0.01, 0.05]) {
  test(`curl, tftp-hpa and atftp get every file at ${loss * 100} % loss, on ports of their own and on a single port`, async () => {
    assert.equal((await Promise.all([failures(loss, false), failures(loss, true)])).flat(), []);
  });
}

/** One line per transfer that did not bring the file. */
async function failures(loss: number, singlePort: boolean): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), "tftp-loss-"));
  const serve: ServeOptions = { address: "127.0.0.1", files: { file: join(folder, "file") }, loss, singlePort };
  await writeFile(join(folder, "file"), FILE);
  const script = fileURLToPath(new URL("serve.ts", import.meta.url));
  const child = spawn("unshare", ["--net", process.execPath, script, JSON.stringify(serve)], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  try {
    const [{ port }] = await deadline(once(child, "message"), 15_000, "the server in its lossy network");
    const inside = ["nsenter", "--net", "--target", String(child.pid), "--"];
    const runs = CLIENTS.flatMap(([client, options]) =>
      Array.from({ length: RUNS }, (_, run) => ({ client, options, run })),
    );
    const outcomes = await Promise.all(
      runs.map(async ({ client, options, run }) => {
        const label = `${client} ${JSON.stringify(options)} ${singlePort ? "single port " : ""}run ${run + 1}`;
        const into = join(folder, `got-${client}-${options.blksize}-${options.windowsize}-${run}`);
        const fetch = fetchArgv(client, { address: "127.0.0.1", port, name: "file", into, ...options });
        const failure = await exec([...inside, ...fetch], { timeoutMs: 140_000 }).then(
          () => undefined,
          (error: Error) => error.message,
        );
        if (failure !== undefined) return `${label}: ${failure}`;
        return (await readFile(into)).equals(FILE) ? undefined : `${label}: other bytes`;
      }),
    );
    const rules = await exec([...inside, "iptables", "-L", "INPUT", "-v", "-x", "-n"]);
    const dropped = Number(/^\s*(\d+)\s+\d+\s+DROP/m.exec(rules.stdout)?.[1] ?? 0);
    assert.ok(dropped > 20, `only ${dropped} packets were lost:\n${rules.stdout}`);
    return outcomes.filter((outcome) => outcome !== undefined);
  } finally {
    await stopChild(child);
    await rm(folder, { recursive: true, force: true });
  }
}

test.run();

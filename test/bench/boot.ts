// A thousand machines switched on at once against the real boot server on its real sockets, in a network namespace: DISCOVER
// to boot script for each, or the one that waits: how long their images take is bench `storm`. Then the same machines spread over two seconds: an OFFER's latency without the queue of all others.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { run as runProgram } from "#lib/run.ts";
import { until } from "#lib/time.ts";
import { bootMachine, bootTarget, writeImage } from "../bootstrap/image-fixture.ts";
import type { ServeOptions } from "../bootstrap/serve.ts";
import { type Stampede, stampedeMac } from "../bootstrap/stampede.ts";
import { openLan } from "../lab/network.ts";
import { withScope } from "../lab/scope.ts";

export const name = "boot";

export interface BootBenchOptions {
  quick?: boolean;
  log?: (line: string) => void;
  signal?: AbortSignal;
}

export interface BenchResult {
  figures: Record<string, number>;
  ratios: Record<string, number>;
  notes?: string[];
}

const program = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const round = (value: number) => Math.round(value * 10) / 10;

export async function run({
  quick = false,
  log = () => undefined,
  signal,
}: BootBenchOptions = {}): Promise<BenchResult> {
  const count = quick ? 200 : 1_000;
  return await withScope(
    async (scope) => {
      signal?.throwIfAborted();
      signal?.addEventListener("abort", () => void scope.close(), { once: true });
      const lan = await openLan(scope, { prefix: 16 });
      const metal = await lan.host("metal", "10.77.0.200");
      const fixture = await writeImage(scope.folder);
      const stateDir = join(scope.folder, "state");
      await mkdir(stateDir);
      const targetFile = join(scope.folder, "target.json");
      const machines = Array.from({ length: count }, (_, n) => bootMachine(stampedeMac(n)));
      await writeFile(targetFile, JSON.stringify(bootTarget(machines, fixture.manifest)));
      const config = {
        interface: lan.bridge,
        mode: "full",
        range: "10.77.4.0-10.77.11.255",
        controlUrls: ["https://10.77.0.1:7777"],
        caFile: "",
        stateDir,
        imagesDir: fixture.imagesDir,
        imageKeyFile: fixture.keyFile,
      };
      const options: ServeOptions = { config, targetFile, simulated: true };
      const server = await lan.spawn([process.execPath, program("../bootstrap/serve.ts"), JSON.stringify(options)], {
        name: "boot",
      });
      await server.waitFor(/ready/, 20_000);
      let asked = 0;
      const memory = async () => {
        await server.kill("SIGUSR2"); // a question, not an end: serve.ts answers it
        asked++;
        const lines = await until(
          () => {
            const found = [...server.output().matchAll(/^memory (.*)\n/gm)];
            return found.length >= asked ? found : undefined;
          },
          { what: "the server's memory figure", timeoutMs: 10_000, signal },
        );
        return JSON.parse(lines.at(-1)![1]!) as { rssBytes: number };
      };
      const before = await memory();
      const rounds: Stampede[] = [];
      const stampede = async (spreadMs: number) => {
        const argv = [process.execPath, program("../bootstrap/stampede.ts"), String(count), lan.ip, String(spreadMs)];
        const { stdout } = await metal.exec(argv, { timeoutMs: 120_000, signal });
        const result = JSON.parse(/^stampede (.*)$/m.exec(stdout)![1]!) as Stampede;
        if (result.scripts + result.waiting !== count || result.addresses !== count) {
          throw new Error(
            `${result.scripts} of ${count} machines got their script and ${result.waiting} their turn, ${result.addresses} addresses`,
          );
        }
        log(
          `${count} machines within ${spreadMs} ms: OFFER p99 ${round(result.offerP99Ms)} ms, last script ${round(result.lastScriptMs)} ms, ${result.resent} resent`,
        );
        return result;
      };
      for (let i = 0; i < (quick ? 1 : 3); i++) rounds.push(await stampede(0));
      const after = await memory();
      const spread = await stampede(2_000);
      rounds.sort((a, b) => a.lastScriptMs - b.lastScriptMs);
      const median = rounds[Math.floor(rounds.length / 2)]!;
      return {
        figures: {
          machines: count,
          onceOfferP50Ms: round(median.offerP50Ms),
          onceOfferP99Ms: round(median.offerP99Ms),
          onceOfferMaxMs: round(median.offerMaxMs),
          lastAckMs: round(median.lastAckMs),
          lastScriptMs: round(median.lastScriptMs),
          resent: median.resent,
          offerP50Ms: round(spread.offerP50Ms),
          offerP99Ms: round(spread.offerP99Ms),
          memoryBeforeMiB: round(before.rssBytes / 2 ** 20),
          residentMiB: round(after.rssBytes / 2 ** 20),
        },
        ratios: {},
        notes: [
          "all machines send their DISCOVER in the same instant from one process: an OFFER's time includes its place in that queue and the client's own work",
        ],
      };
    },
    { signals: signal === undefined },
  );
}

if (import.meta.main) {
  runProgram(async (signal) => {
    const result = await run({ quick: process.argv.includes("--quick"), log: (line) => console.error(line), signal });
    console.log(JSON.stringify(result, undefined, 2));
    return 0;
  });
}

// What the programs hold at rest: an appliance and three hosts of real parts, an app that was deployed and requested, then nothing for a
// minute. PSS counts a page that several programs share in parts; on this one machine they share Node's binary, so what one would have
// alone (its private pages, and the binary's that are in memory) stands beside it.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sleep } from "#lib/time.ts";
import { bundleProgram } from "../../images/host/bundle.ts";
import { addApp, type Cluster, loadOn, startCluster } from "../lab/survival/cluster.ts";
import type { BenchOptions, BenchResult } from "./run.ts";

export const name = "memory";

const MIB = 1024;

/** proc(5), smaps_rollup: MiB. */
async function memoryOf(pid: number): Promise<{ pss: number; rss: number }> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
  const kib = (field: string) => Number(new RegExp(`^${field}: +(\\d+) kB$`, "m").exec(text)![1]);
  return { pss: kib("Pss") / MIB, rss: kib("Rss") / MIB };
}

export async function run({ quick = false, log, signal }: BenchOptions): Promise<BenchResult> {
  const folder = await mkdtemp(join(tmpdir(), "memory-bench-"));
  const program = join(folder, "hostd.mjs"); // as the boot image carries it
  await writeFile(program, await bundleProgram(fileURLToPath(new URL("../../hostd/main.ts", import.meta.url))));
  const cluster: Cluster = await startCluster({ count: 3, signals: false, host: { program } });
  const { appliance, hosts, scope } = cluster;
  signal.addEventListener("abort", () => void scope.close().catch(() => undefined), { once: true });
  try {
    await addApp(cluster, { name: "app", count: quick ? 1 : 6 });
    const load = await loadOn(cluster, "app");
    await sleep(quick ? 1_000 : 10_000, signal);
    await load.stop();
    log(`at rest for ${quick ? 2 : 60} s from now on`);
    await sleep(quick ? 2_000 : 60_000, signal);
    const control = await memoryOf(await appliance.pidOf("control"));
    const router = await memoryOf(await appliance.pidOf("router"));
    const agents = await Promise.all(hosts.map(({ hostd }) => memoryOf(hostd.pid)));
    const most = (field: "pss" | "rss") => Math.max(...agents.map((each) => each[field]));
    const figures = {
      controlPssMiB: control.pss,
      controlRssMiB: control.rss,
      routerPssMiB: router.pss,
      routerRssMiB: router.rss,
      hostdPssMiB: most("pss"),
      hostdRssMiB: most("rss"),
    };
    const rounded = Object.entries(figures).map(([field, value]) => [field, Math.round(value)] as const);
    return { figures: Object.fromEntries(rounded), ratios: {} };
  } finally {
    await scope.close();
    await rm(folder, { recursive: true, force: true });
  }
}

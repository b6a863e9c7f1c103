// Control as a process of its own: real store, real TLS API, every loop running; only the registry is stood in for. Beside what the
// API offers it answers what it costs: processor time, memory, and how late its event loop was.
import { writeFile } from "node:fs/promises";
import { Session } from "node:inspector/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { keepOldSpaceSmall } from "#lib/heap.ts";
import { createLog } from "#lib/log.ts";
import { keysNeeded, reseal } from "../../../control/apps/env-at-rest.ts";
import { openAuthority } from "../../../control/identity/authority.ts";
import { keys } from "../../../control/keys.ts";
import { openSecrets, SEALING_DIRECTORY } from "../../../control/secrets.ts";
import { type Change, openStore } from "../../../control/store/store.ts";
import { wireControl } from "../../../control/wire.ts";
import { fakeRegistry } from "../../control/rig.ts";
import { lateness } from "./lateness.ts";
import { appIdOf, configOf, releaseIdOf } from "./seed.ts";
import { answer } from "./worker.ts";

keepOldSpaceSmall();
const [directory = ""] = process.argv.slice(2);
const config = configOf(directory);
const log = createLog("control", { level: config.logLevel });
const openedMs = performance.now();
const store = await openStore({ directory: join(directory, "store"), log });
const openMs = performance.now() - openedMs;
const authority = await openAuthority(join(directory, "ca"));
const secrets = await openSecrets(join(directory, SEALING_DIRECTORY), keysNeeded(store));
await reseal(store, secrets);
const control = wireControl({
  store,
  config,
  authority,
  secrets,
  log,
  identity: await authority.issueControl(["127.0.0.1"]),
  images: fakeRegistry(),
  docker: { save: async () => ({ archive: Readable.from([]), sizeBytes: 0 }) },
  addresses: ["127.0.0.1"],
});
await control.app.listen({ host: "127.0.0.1", port: 0 });
const { port } = control.app.server.address() as AddressInfo;
const stopped = new AbortController();
const ended = control.run(stopped.signal);
const late = lateness();
let sinceMs = performance.now();
let cpu = process.cpuUsage();
let peakBytes = 0;
const inspector = new Session();
let profiling = false;
const watching = setInterval(() => {
  peakBytes = Math.max(peakBytes, process.memoryUsage.rss());
}, 200);

/** What control has cost since it was last asked. */
export interface Costs {
  cores: number;
  loopP99Ms: number;
  loopMaxMs: number;
  residentBytes: number;
  peakBytes: number;
  heapBytes: number;
}

answer(
  {
    started: () => ({ port, openMs }),
    costs: (): Costs => {
      const used = process.cpuUsage(cpu);
      const tookMs = performance.now() - sinceMs;
      const { p99Ms, maxMs } = late.read();
      cpu = process.cpuUsage();
      sinceMs = performance.now();
      const { rss, heapUsed } = process.memoryUsage();
      return {
        cores: (used.user + used.system) / 1_000 / tookMs,
        loopP99Ms: p99Ms,
        loopMaxMs: maxMs,
        residentBytes: rss,
        peakBytes,
        heapBytes: heapUsed,
      };
    },
    /** Scales every app at once, as a script of an operator would. */
    async scaleAll({ apps, count }: { apps: number; count: number }) {
      const at = performance.now();
      const changes = Array.from({ length: apps }, (_, n): Change => {
        const [appId, releaseId] = [appIdOf(n), releaseIdOf(n)];
        const value = { appId, releaseId, processes: { web: { count, tags: {} } } };
        return { key: keys.formation(appId, releaseId), value };
      });
      for (let n = 0; n < changes.length; n += 50) {
        await store.commit({ actor: "bench", mutations: changes.slice(n, n + 50) });
      }
      return { tookMs: performance.now() - at };
    },
    /** Ends the profile that runs, if any, into `path`, and starts the next. */
    async profile({ path }: { path: string }) {
      if (profiling) await writeFile(path, JSON.stringify((await inspector.post("Profiler.stop")).profile));
      else {
        inspector.connect();
        await inspector.post("Profiler.enable");
      }
      profiling = true;
      await inspector.post("Profiler.start");
    },
  },
  async () => {
    clearInterval(watching);
    late.stop();
    stopped.abort();
    await ended;
    await control.close();
    await store.close();
  },
);

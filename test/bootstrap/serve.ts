// The boot server as its own process with a control plane that is a file: `serve.ts OPTIONS_JSON`. Prints `ready`, then each
// machine event as a line `event {...}`; `memory` answers SIGUSR2.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { BootTarget } from "#api/boot.ts";
import { keepNewSpaceSmall, keepOldSpaceSmall } from "#lib/heap.ts";
import { silentLog } from "#lib/log.ts";
import { run } from "#lib/run.ts";
import { bootServer } from "../../bootstrap/boot-server.ts";
import { readConfig } from "../../bootstrap/config.ts";
import { listInterfaces } from "../../bootstrap/interfaces.ts";
import { openTimeline } from "../../bootstrap/timeline.ts";

export interface ServeOptions {
  config: Record<string, unknown>;
  targetFile: string;
  /** True: requests may come from one address for many machines, and are not limited (benches). */
  simulated?: boolean;
}

if (import.meta.main) {
  keepNewSpaceSmall(); // as its own main.ts
  keepOldSpaceSmall();
  run(async (signal) => {
    const options = JSON.parse(process.argv[2] ?? "{}") as ServeOptions;
    const config = readConfig({ flags: options.config, env: {} }, await listInterfaces());
    const log = silentLog();
    await using stack = new AsyncDisposableStack();
    const timeline = await openTimeline({ path: join(config.stateDir, "events.journal"), log });
    stack.defer(() => timeline.close());
    const server = await bootServer({
      config,
      timeline,
      log,
      grant: (boot) => `fjg_${boot.bootId}`,
      ...(options.simulated
        ? { neighbours: (_, expected) => expected ?? config.ownMacs.values().next().value, requestsPerSecond: 1e6 }
        : {}),
    });
    stack.defer(() => server.close());
    await server.scanImages();
    server.setTarget(JSON.parse(readFileSync(options.targetFile, "utf8")) as BootTarget);
    process.on("SIGUSR2", () =>
      console.log(`memory ${JSON.stringify({ rssBytes: process.memoryUsage.rss(), ...server.dhcp.counts })}`),
    );
    console.log("ready");
    await timeline.deliver(async (events) => {
      for (const event of events) if (!options.simulated) console.log(`event ${JSON.stringify(event)}`);
    }, signal);
    return 0;
  });
}

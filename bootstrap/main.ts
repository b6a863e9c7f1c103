// The boot server: `main.ts --config FILE`. Listens first, so that a taken port is an error at once, then joins and follows.
import { parseArgs } from "node:util";
import { readCa } from "#api/join.ts";
import { keepNewSpaceSmall, keepOldSpaceSmall } from "#lib/heap.ts";
import { broadcastOf } from "#lib/ipv4.ts";
import { createLog } from "#lib/log.ts";
import { run } from "#lib/run.ts";
import { every } from "#lib/time.ts";
import { hearing } from "./bmc/hearing.ts";
import { wake } from "./bmc/wake.ts";
import { bmcWorker } from "./bmc/worker.ts";
import { bootServer } from "./boot-server.ts";
import { readConfig } from "./config.ts";
import { controlLink } from "./control.ts";
import { listInterfaces } from "./interfaces.ts";
import { openTimeline } from "./timeline.ts";

const IMAGE_SCAN_MS = 5_000;

keepNewSpaceSmall();
keepOldSpaceSmall();
run(async (signal) => {
  const { values } = parseArgs({
    options: { config: { type: "string" }, interface: { type: "string" }, mode: { type: "string" } },
  });
  const { config: file, ...flags } = values;
  const config = readConfig({ file, flags }, await listInterfaces());
  const log = createLog("bootstrap", { level: config.logLevel });
  await using stack = new AsyncDisposableStack();
  const journaled = await openTimeline({ path: `${config.stateDir}/events.journal`, log });
  stack.defer(() => journaled.close());
  const heard = hearing();
  const timeline = heard.listening(journaled);
  const caPem = await readCa(config.caFile);
  const server = await bootServer({
    ...{ config, timeline, log },
    grant: (boot) => link.grant(boot),
    controlIsThere: () => link.isThere(),
  });
  stack.defer(() => server.close());
  const broadcast = broadcastOf(config.network);
  const bmcs = await bmcWorker({
    stateDir: config.stateDir,
    heardAt: heard.at,
    wake: (macs) => wake(macs, { from: config.address, broadcast }),
    media: server.media,
    log,
  });
  stack.defer(() => bmcs.close());
  const link = await controlLink({
    ...config,
    caPem,
    timeline,
    inventories: server.inventories,
    lan: server.lan,
    log,
    onTarget: server.setTarget,
    bmcs,
  });
  const scan = async () => {
    for await (const _ of every(IMAGE_SCAN_MS, signal)) {
      await server.scanImages().catch((error) => log.error({ err: error }, "boot images not scanned"));
    }
  };
  await Promise.all([link.run(signal), scan(), server.lan.run(signal)]);
  return 0;
});

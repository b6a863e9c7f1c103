// hostd's builds as a program, for a lab host: real Docker, real iptables, and a control that is a folder. Beside `target.json`
// it reads BUILD.tar and writes BUILD.log, BUILD.slug, BUILD.image, BUILD.result.json and jobs.json.
import { createReadStream, createWriteStream, writeFileSync } from "node:fs";
import { appendFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { hostBuildImage, hostBuildLog, hostBuildResult, hostBuildSlug } from "#api/builds.ts";
import type { HostTarget } from "#api/host-agents.ts";
import { readText } from "#lib/files.ts";
import { createLog } from "#lib/log.ts";
import { run } from "#lib/run.ts";
import { sleep } from "#lib/time.ts";
import { dockerBuildEngine } from "../../hostd/builds/docker.ts";
import { BRIDGES } from "../../hostd/builds/engine.ts";
import { openBuilds } from "../../hostd/builds/open.ts";
import type { BuildParts } from "../../hostd/builds/run.ts";
import { dockerEngine } from "../../hostd/engine/docker.ts";
import { applyNetwork } from "../../hostd/network-apply.ts";
import { reachKernel } from "../../hostd/reach/kernel.ts";
import { keepReach } from "../../hostd/reach/reach.ts";

const [, , folder = "", socketPath = "", controlUrl = ""] = process.argv;
const received = new Map<string, number>();

const client = {
  async call(
    endpoint: { id: string },
    input: { params: { build: string }; body?: unknown; upload?: NodeJS.ReadableStream },
  ) {
    const { build } = input.params;
    if (endpoint.id === hostBuildLog.id) {
      const { offset, text } = input.body as { offset: number; text: string };
      const had = received.get(build) ?? 0;
      if (offset === had) await appendFile(join(folder, `${build}.log`), text);
      received.set(build, Math.max(had, offset + Buffer.byteLength(text)));
      return { offset: received.get(build) };
    }
    if (endpoint.id === hostBuildSlug.id || endpoint.id === hostBuildImage.id) {
      const kind = endpoint.id === hostBuildSlug.id ? "slug" : "image";
      await pipeline(input.upload!, createWriteStream(join(folder, `${build}.${kind}`)));
      return {};
    }
    if (endpoint.id === hostBuildResult.id) {
      await writeFile(join(folder, `${build}.result.tmp`), JSON.stringify(input.body));
      await rename(join(folder, `${build}.result.tmp`), join(folder, `${build}.result.json`));
      return {};
    }
    throw new Error(endpoint.id);
  },
  download: async (_: unknown, { params }: { params: { build: string } }) =>
    createReadStream(join(folder, `${params.build}.tar`)),
} as unknown as BuildParts["client"];

run(async (signal) => {
  const log = createLog("build-agent");
  const reach = keepReach({
    kernel: reachKernel(["flynn0", ...Object.values(BRIDGES)]),
    jobBridge: "flynn0",
    buildBridges: Object.values(BRIDGES),
    clusterAddresses: () => [new URL(controlUrl).hostname],
    dns: () => [],
    onChange: () => undefined,
    log,
  });
  const jobEngine = dockerEngine({ socketPath });
  reach.see([]);
  const builds = openBuilds({
    config: { stateDir: join(folder, "state") },
    reach,
    engine: dockerBuildEngine({ socketPath }),
    jobEngine,
    client,
    hostId: "host-1",
    dns: () => [],
    healthy: () => true,
    clusterAddresses: () => [new URL(controlUrl).hostname],
    onChange: () => writeFileSync(join(folder, "jobs.json"), JSON.stringify(builds.jobs())),
    log,
    signal,
  });
  const running = Promise.all([builds.run(), reach.run(signal)]);
  for (let last = ""; !signal.aborted; await sleep(50, signal)) {
    const text = (await readText(join(folder, "target.json"))) ?? "";
    if (text === last || text === "") continue;
    last = text;
    const target = JSON.parse(text) as HostTarget;
    reach.see(await jobEngine.list());
    reach.setTarget(target);
    await applyNetwork({ target, bridge: "flynn0", allowedAddresses: [] }, signal);
    builds.setTarget(target);
  }
  await running;
});

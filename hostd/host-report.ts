// What control is told with each report, put together from what the loops know at that moment.
import type { HostFacts, HostReport } from "#api/host-agents.ts";
import type { JobReport } from "#api/jobs.ts";
import type { Agent } from "./agent.ts";
import type { EngineMonitor } from "./engine-monitor.ts";
import type { SpaceWatch } from "./job-disk/space.ts";
import type { DiskWatch } from "./job-disk/watch.ts";
import type { JobNetwork } from "./job-network.ts";
import type { MemoryWatch } from "./memory-loop.ts";
import type { ReachKeeper } from "./reach/reach.ts";

const NO_ADDRESS = "it has no address by which control reaches it; jobs wait for one";

export interface ReportParts {
  agent: Pick<Agent, "target" | "jobs" | "quarantined">;
  monitor: Pick<EngineMonitor, "report">;
  memory: Pick<MemoryWatch, "of">;
  disk: Pick<DiskWatch, "of">;
  space: Pick<SpaceWatch, "last">;
  reach: Pick<ReachKeeper, "version">;
  network: Pick<JobNetwork, "waits">;
  facts: () => HostFacts;
  builds: () => JobReport[];
}

export function hostReport(parts: ReportParts) {
  const { agent, monitor, memory, disk, space, reach, network, builds } = parts;
  const { term = 0, seq = 0 } = agent.target() ?? {};
  const facts = parts.facts();
  const jobs = agent.jobs().map((job) => {
    const [memoryBytes, used] = [memory.of(job.id), disk.of(job.id)];
    return {
      ...job,
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      ...(used === undefined ? {} : { disk: used }),
    };
  });
  const reachVersion = reach.version();
  const found = space.last();
  const quarantined = agent.quarantined();
  const subnetWaits = network.waits()?.slice(0, 400);
  const engine = monitor.report();
  return {
    ...{ term, seq, facts },
    engine: facts.address === undefined ? { ...engine, healthy: false, reason: NO_ADDRESS } : engine,
    now: new Date().toISOString(),
    ...(reachVersion === undefined ? {} : { reachVersion }),
    ...(found === undefined ? {} : { space: found }),
    ...(quarantined.length === 0 ? {} : { quarantined }),
    ...(subnetWaits === undefined ? {} : { subnetWaits }),
    jobs: [...jobs, ...builds()],
  } satisfies Partial<HostReport>;
}

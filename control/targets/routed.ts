// Which generation holds a change of one job, so that a busy cluster holds up nobody: whoever waits for the newest of everything
// waits for ever beside an app that changes all the time.
import type { Job } from "#api/jobs.ts";
import { PREFIX } from "../keys.ts";
import type { LogRecord } from "../store/log.ts";
import type { Store } from "../store/store.ts";
import { backendState, canaryPoolId, poolId, type TargetPool } from "./router.ts";
import { isDrained, isRouted, isServed, type Routers } from "./router-proofs.ts";

export interface RoutedOptions {
  store: Pick<Store, "list">;
  /** One pool as of now. */
  pool: (id: string) => TargetPool | undefined;
  /** The newest generation, with everything as of now. */
  generation: () => number;
  /** The one from which on a record's change is served. */
  generationOf: (seq: number) => number;
  routers: () => Routers;
  monotonicMs: () => number;
  drainTimeoutMs: number;
}

export interface Routed {
  apply(record: LogRecord): void;
  /** Every live router serves those of the jobs that are in the routes as they are: sends them requests, or nothing new while they drain. */
  serve(jobs: readonly Job[]): boolean;
  /** The draining job may be stopped. `drainSeq`: the record that made it drain. */
  isDrained(job: Job, drainSeq: number): boolean;
}

/** How a job stands in the routes, and the record that made it so. */
interface Standing {
  backend: string;
  seq: number;
}

interface Draining {
  /** When all live routers first knew. */
  knownMs?: number;
  /** The generation without its route, as of when it was first seen to have none. */
  unrouted?: number;
}

export function routed(options: RoutedOptions): Routed {
  const { store, pool, generation, generationOf, routers, monotonicMs, drainTimeoutMs } = options;
  const standings = new Map<string, Standing>();
  const draining = new Map<string, Draining>();
  /** In the pool of its process, or in that of its release's canary. */
  const isInRoutes = (job: Job): boolean => {
    const id = poolId(job.appId, job.process);
    return isRouted(job, pool(id)) || isRouted(job, pool(canaryPoolId(id, job.releaseId)));
  };
  const put = (job: Job, seq: number): void => {
    const state = backendState(job);
    if (job.desired !== "drain") draining.delete(job.id);
    if (state === undefined || job.task !== undefined) {
      standings.delete(job.id);
      return;
    }
    const backend = `${state} ${job.address}:${job.port}`;
    if (standings.get(job.id)?.backend !== backend) standings.set(job.id, { backend, seq });
  };
  for (const { value, version } of store.list<Job>(PREFIX.jobs)) put(value, version);

  return {
    apply({ seq, mutations }) {
      for (const { key, value } of mutations) {
        if (!key.startsWith(PREFIX.jobs)) continue;
        if (value !== null) put(value as unknown as Job, seq);
        else for (const map of [standings, draining]) map.delete(key.slice(key.lastIndexOf("/") + 1));
      }
    },
    serve(jobs) {
      const seqs = jobs
        .filter((job) => backendState(job) !== undefined && isInRoutes(job))
        .map(({ id }) => standings.get(id)?.seq ?? generation());
      return seqs.length === 0 || isServed(generationOf(Math.max(...seqs)), routers());
    },
    isDrained(job, drainSeq) {
      const known = draining.get(job.id) ?? {};
      draining.set(job.id, known);
      if (!isInRoutes(job)) known.unrouted ??= generation();
      const wanted = generationOf(isInRoutes(job) ? drainSeq : known.unrouted!);
      const there = routers();
      if (!isServed(wanted, there)) return false;
      known.knownMs ??= monotonicMs();
      const drainingMs = monotonicMs() - known.knownMs;
      return isDrained({ job, generation: wanted, routers: there, drainingMs, drainTimeoutMs });
    },
  };
}

// Jobs that run once: a user's one-off, a release phase, a build. The scheduler places them like any job; an exit is the end.
import type { Job, Task } from "#api/jobs.ts";
import type { Resources, Tags } from "#api/schema.ts";
import type { Change } from "../store/store.ts";

export interface TaskWish {
  appId: string;
  /** Release whose image and environment it has; left out for a build. */
  releaseId?: string;
  /** Process type whose limits, health and environment it takes; `run` when none. */
  process: string;
  task: Task;
  /** Variables on top of the release's. */
  env?: Record<string, string>;
  need?: Resources;
  tags?: Tags;
}

export interface Tasks {
  /** The job and the changes that make it, for a caller that commits it with something of its own. */
  draft(wish: TaskWish): { job: Job; changes: Change[] };
  create(wish: TaskWish): Promise<Job>;
  /** The job as it stands; `ended` is true once it is over for good (exitCode is then there unless its host was lost). */
  get(appId: string, id: string): { job: Job; ended: boolean } | undefined;
  stop(appId: string, id: string, by: string): Promise<void>;
}

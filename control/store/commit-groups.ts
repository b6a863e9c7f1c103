// Group commit: one write in flight, everything staged meanwhile goes in the next one. After a failed write all that is staged is
// refused until `resume`, since after a failed sync nobody knows what the disk holds.

/** The group that was being written when writing failed: some of it may be on the disk, and then stands once the disk works. */
export class InDoubt extends Error {
  constructor(cause: unknown) {
    super("it was being written when writing failed", { cause });
    this.name = "InDoubt";
  }
}

export interface GroupsOptions<S> {
  /** Makes an empty group when the first record of one is staged. */
  begin: () => S;
  write: (staged: S) => Promise<void>;
  maxRecords: number;
  maxBytes: number;
  /** With nothing in flight a group of this many is written at once, so that the next one is staged meanwhile. */
  promptRecords: number;
  onFailure: (error: unknown) => void;
}

export interface Groups<S> {
  /** Stages into the open group; resolves when that group is durable. Rejects with `InDoubt` when it may be all the same. */
  add(records: number, stage: (staged: S) => number): Promise<void>;
  /** Runs `work` between two writes, with none in flight. Its failure is its own. */
  between(work: () => Promise<void>): Promise<void>;
  /** A write of `between` failed: whatever waits is refused, unwritten, as after a group that failed. */
  fail(error: unknown): void;
  /** Resolves when nothing is queued or in flight. */
  idle(): Promise<void>;
  /** Takes records again. */
  resume(): void;
}

interface Job<S> {
  run: () => Promise<void>;
  /** Undefined when this is work between two groups. */
  staged: S | undefined;
  records: number;
  sizeBytes: number;
  durable: Promise<void>;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export function commitGroups<S>(options: GroupsOptions<S>): Groups<S> {
  const { begin, write, maxRecords, maxBytes, promptRecords, onFailure } = options;
  const queue: Job<S>[] = [];
  let failure: { error: unknown } | undefined;
  let running: Promise<void> | undefined;
  let writing = false;

  const enqueue = (staged: S | undefined, run: () => Promise<void>): Job<S> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    promise.catch(() => undefined); // whoever waits has a promise of their own
    const job = { run, staged, records: 0, sizeBytes: 0, durable: promise, resolve, reject };
    queue.push(job);
    // Started a microtask later, so that commits made in one turn share the first group too.
    running ??= Promise.resolve().then(writeOn);
    return job;
  };

  const writeOn = async () => {
    if (writing) return;
    writing = true;
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
      try {
        if (failure !== undefined) throw failure.error;
        await job.run();
        job.resolve();
      } catch (error) {
        const isWritten = failure === undefined && job.staged !== undefined;
        job.reject(isWritten ? new InDoubt(error) : error);
        if (isWritten) {
          failure = { error };
          onFailure(error);
        }
      }
    }
    writing = false;
    running = undefined;
  };

  return {
    add(records, stage) {
      if (failure !== undefined) return Promise.reject(failure.error);
      let job = queue.at(-1);
      if (job?.staged === undefined || job.records + records > maxRecords || job.sizeBytes >= maxBytes) {
        const staged = begin();
        job = enqueue(staged, () => write(staged));
      }
      job.sizeBytes += stage(job.staged!);
      job.records += records;
      if (!writing && job.records >= promptRecords) running = writeOn();
      return job.durable;
    },
    between: (work) => (failure === undefined ? enqueue(undefined, work).durable : Promise.reject(failure.error)),
    fail(error) {
      failure ??= { error };
    },
    async idle() {
      while (running !== undefined) await running;
    },
    resume() {
      failure = undefined;
    },
  };
}

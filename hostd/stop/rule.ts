// Who is sent SIGTERM when a job stops, and when. Every process of the job gets it, once, and none is cut short by the end of another:
// a container ends with its first process, so a shell that dies of SIGTERM at once would take with it the app that it waits for. So
// what only waits for a process that takes its time (a shell, a starter of scripts, `| cat`) gets its own after that process has
// ended. Pure.

export interface JobProcess {
  pid: number;
  parent: number;
  /** As the kernel has it: 15 characters at most. */
  name: string;
  argv: readonly string[];
  /** It has a handler for SIGTERM, or ignores it; any other dies of it at once. */
  takesTime: boolean;
  /** Pipe that it reads as its input. */
  input?: string;
  /** Pipes that it writes its output and its errors to. */
  outputs: readonly string[];
}

export interface StopState {
  /** Sent SIGTERM. */
  told: ReadonlySet<number>;
  /** Those that wait, each with the processes whose end it waits for. */
  later: ReadonlyMap<number, readonly number[]>;
}

const INIT = /^(?:docker-init|tini|tini-static|dumb-init|catatonit)$/;
/** Inits pass every signal on to what they started, and end with it. */
export const isInitName = (name: string): boolean => INIT.test(name);
/** Starters of scripts that pass SIGTERM on to the script and wait for it: it would get it twice, and end at once where twice means now. */
const STARTER = /^(?:[^ ]*\/)?(?:npm|npx|yarn|yarnpkg|pnpm)(?:-cli)?(?:\.[cm]?js)?(?: |$)/;

/** Of more processes than these, all get it at once: who waits for whom is worked out for a job's shells, not for a crowd. */
export const RULE_MOST_PROCESSES = 256;

/** As a job's stop begins. */
export function firstRound(processes: readonly JobProcess[]): StopState & { now: number[] } {
  const isInit = initsOf(processes);
  const later = processes.length > RULE_MOST_PROCESSES ? new Map<number, number[]>() : waitersOf(processes, isInit);
  const now = processes.filter((one) => !isInit(one) && !later.has(one.pid)).map(({ pid }) => pid);
  return { now, told: new Set(now), later };
}

function waitersOf(
  processes: readonly JobProcess[],
  isInit: (one: JobProcess) => boolean,
): Map<number, readonly number[]> {
  const awaited = processes.filter((one) => one.takesTime && !isInit(one) && !isStarter(one));
  const byPid = new Map(processes.map((one) => [one.pid, one]));
  const readersOf = Map.groupBy(
    processes.filter(({ input, takesTime }) => !takesTime && input !== undefined),
    ({ input }) => input!,
  );
  const later = new Map<number, Set<number>>();
  const wait = (pid: number, forPid: number): boolean => {
    const known = later.get(pid) ?? new Set();
    if (known.has(forPid)) return false;
    later.set(pid, known.add(forPid));
    return true;
  };
  for (const { pid, parent } of awaited) {
    for (let at = byPid.get(parent); at !== undefined; at = byPid.get(at.parent))
      if (!isInit(at) && (!at.takesTime || isStarter(at)) && !wait(at.pid, pid)) break;
    // A filter behind it reads to its end, and one behind that filter too. Each pipe is looked at once.
    const seen = new Set<string>();
    for (const pipes = [...byPid.get(pid)!.outputs]; pipes.length > 0; ) {
      const pipe = pipes.pop()!;
      if (seen.has(pipe)) continue;
      seen.add(pipe);
      for (const filter of readersOf.get(pipe) ?? []) if (wait(filter.pid, pid)) pipes.push(...filter.outputs);
    }
  }
  return new Map([...later].map(([pid, after]) => [pid, [...after]]));
}

/** A look later: those that waited long enough, and those that began since, but for children of one that was told, which ends them. */
export function nextRound(processes: readonly JobProcess[], before: StopState): StopState & { now: number[] } {
  const isInit = initsOf(processes);
  const alive = new Set(processes.map(({ pid }) => pid));
  const later = new Map(
    [...before.later].filter(([pid, after]) => alive.has(pid) && after.some((one) => alive.has(one))),
  );
  const now = processes
    .filter((one) => !isInit(one) && !before.told.has(one.pid) && !later.has(one.pid))
    .filter(({ pid, parent }) => before.later.has(pid) || !before.told.has(parent))
    .map(({ pid }) => pid);
  return { now, told: new Set([...before.told].filter((pid) => alive.has(pid)).concat(now)), later };
}

/** After a restart of hostd: whoever takes time was told before it. */
export function resumed(processes: readonly JobProcess[]): StopState {
  const { now, later } = firstRound(processes);
  return { told: new Set(now), later };
}

/** An init is told nothing while it has anything to pass signals on to: what it started is told by itself. */
function initsOf(processes: readonly JobProcess[]): (one: JobProcess) => boolean {
  const parents = new Set(processes.map(({ parent }) => parent));
  return ({ pid, name }) => isInitName(name) && parents.has(pid);
}

/** `npm start` calls itself that; others are scripts that Node.js runs. */
function isStarter({ argv }: JobProcess): boolean {
  return argv.slice(0, 2).some((word) => STARTER.test(word));
}

// A push from git's first hook to what its client is told. In pre-receive it is judged, waits for the app's other pushes, is looked
// through, and git is had prepare the change of the ref: whatever git has against it is said then. In proc-receive, when its objects
// are in the repository, it is built and deployed, and the ref is moved. A client or a git process that goes away then changes nothing.
import { basename, dirname, join, resolve } from "node:path";
import type { Readable } from "node:stream";
import type { App } from "#api/apps.ts";
import { Fault, isFault } from "#api/fault.ts";
import { newSecret } from "#lib/ids.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { joined } from "#lib/time.ts";
import { findApp } from "../apps/find.ts";
import { plainText } from "../events.ts";
import type { Store } from "../store/store.ts";
import { buildAndDeploy, isDeployed, type PushBuilds, running } from "./deploy.ts";
import { LIMITS } from "./limits.ts";
import { isUnreached, isWhole, newPacks, removePacks } from "./packs.ts";
import { type Outcome, pktSections, receiveCommands, report } from "./proc-receive.ts";
import { type PreparedRefs, prepareRefs } from "./ref-update.ts";
import type { Repositories } from "./repositories.ts";
import { type HistoryEnds, historyEnds } from "./shallow.ts";
import { checkTree } from "./source.ts";
import type { PushSpace } from "./space.ts";
import { type Turns, turns } from "./turns.ts";
import { deployBranches, isNone, judge, parseUpdates, type Update } from "./updates.ts";

export interface PushOptions {
  store: Store;
  builds: PushBuilds;
  repositories: Repositories;
  space: Pick<PushSpace, "check">;
  log: Log;
  /** Aborts when control ends. */
  signal: AbortSignal;
  /** A push was taken and its git process has ended, before the app's next push has its turn. */
  onTaken: (repository: string, ref: string) => Promise<void>;
  /** Resolves when the repository is not being packed. */
  packed: (repository: string) => Promise<void>;
}

/** A git process that serves one client. */
export interface Session {
  /** What names it to the hooks; nobody can guess it. */
  id: string;
  repository: string;
  /** Of its git process. */
  env: NodeJS.ProcessEnv;
  /** What the client says its history ends with; before its git reads on. */
  onShallow(commits: readonly string[]): Promise<void>;
  /** To be called when the git process is over: the app's next push goes on, once what it had begun has ended. */
  end(): void;
}

export interface Pushes {
  /** Fault `rate-limited` when there are too many already. */
  begin(app: App, by: string): Promise<Session>;
  /** The pre-receive hook's question. Resolves with the exit code that git is given. */
  decide(hook: Hook): Promise<number>;
  /** The proc-receive hook's. */
  take(hook: TakeHook): Promise<number>;
  /** Pushes that git or control is at now. */
  size(): number;
}

export interface Hook {
  push: string;
  quarantine: string;
  /** All that git wrote to the hook. */
  updates: string;
  /** Text that the client is shown. */
  say: (text: string) => void;
}

export interface TakeHook extends Pick<Hook, "push" | "say"> {
  /** What git says to the hook, and what it is answered. */
  input: Readable;
  answer: (bytes: Buffer) => void;
}

/** What was decided before git moved the objects. */
type Plan = { updates: readonly Update[]; commit?: string; refs?: PreparedRefs };

interface Open {
  app: App;
  by: string;
  repository: string;
  asked: "nothing" | "decide" | "take";
  /** Its git process is over. */
  ended: boolean;
  /** Hooks that are being answered. */
  busy: number;
  plan?: Plan;
  ends?: HistoryEnds;
  packs: string[];
  /** Packs of another push went while this was under way: git may have counted on them. */
  doubtful?: boolean;
  /** Its commit runs, or ran. */
  deployed?: boolean;
  /** The ref that has moved. */
  taken?: string;
  endTurn?: () => void;
}

const QUARANTINE = /^(tmp_objdir-)?incoming-[A-Za-z0-9]{1,32}$/;

export function pushes({ store, builds, repositories, space, log, signal, onTaken, packed }: PushOptions): Pushes {
  const open = new Map<string, Open>();
  const queue: Turns = turns();

  /** Its turn, whatever is before it; false when its git died meanwhile. */
  const takeTurn = async (push: Open, say: (text: string) => void): Promise<boolean> => {
    const name = push.app.name;
    push.endTurn = await queue.take(push.app.id, {
      signal,
      onWait: (before) =>
        say(`-----> ${before === 1 ? "Another push" : `${before} other pushes`} to ${name} first; this one waits\n`),
    });
    return !push.ended;
  };

  /** The plan, or undefined when the client has heard why there is none. */
  const judged = async (push: Open, { updates: text, say }: Hook, quarantine: string | undefined) => {
    const { repository, app } = push;
    const warn = warner(say);
    const updates = parseUpdates(text);
    if (updates === undefined) throw new Fault("invalid", "the names of the refs are not sound");
    const judgement = judge(updates, findApp(store, app.id).value);
    if ("refused" in judgement) {
      warn(`Push rejected to ${app.name}:`);
      for (const line of judgement.refused) warn(line);
      return undefined;
    }
    const place = { repositories, repository, quarantine };
    if ("remove" in judgement) {
      if (!(await takeTurn(push, say))) return undefined;
      return { updates, refs: await prepareRefs(place, updates) };
    }
    const update = judgement.deploy;
    const commit = await repositories.resolve(repository, update.to, quarantine);
    if (commit === undefined)
      throw new Fault(
        "invalid",
        `${short(update.to)} is no commit and names none: push a branch, or a tag of a commit`,
      );
    if (!(await takeTurn(push, say))) return undefined;
    const head = (await repositories.resolve(repository, update.ref)) ?? update.to.replace(/./g, "0");
    if (head !== update.from) {
      if (head === commit) warn(`Another push of ${short(head)} was first, and is what runs here: flynn build log`);
      else {
        warn(`${branchOf(update)} has moved to ${short(head)} meanwhile: nothing was built.`);
        warn("Fetch it, put your work on top of it, and push again.");
      }
      return undefined;
    }
    if (head === commit) return { updates, commit };
    await space.check(repository, quarantine);
    if (push.doubtful && !(await isWhole({ ...place, commit, env: push.ends?.env, signal })))
      throw new Fault("conflict", "it builds on a push that was refused meanwhile and is gone; push again");
    const now = findApp(store, app.id).value;
    if (!isDeployed(store, builds, now, commit) && running(store, now, commit) === undefined)
      await checkTree({ ...place, commit, signal });
    push.packs = await newPacks(repository, quarantine);
    return { updates, commit, refs: await prepareRefs(place, [{ ...update, to: commit }]) };
  };

  /** What became of each ref; the client has heard the words. */
  const carriedOut = async (push: Open, plan: Plan, say: (text: string) => void): Promise<Outcome[]> => {
    const { updates, commit, refs } = plan;
    const [update] = updates as [Update];
    if (commit === undefined) {
      await refs!.commit();
      return updates.map(({ ref }) => ({ ref }));
    }
    const at = commit === update.to ? {} : { at: commit };
    if (refs === undefined) {
      say(`=====> ${branchOf(update)} is at ${short(commit)} already\n`);
      return [{ ref: update.ref, ...at }];
    }
    const { app, by, repository } = push;
    const tree = { repositories, repository, commit, signal };
    const requested = { app, by, ref: update.ref, tree, admit: refs.hold, say, signal };
    const refused = await buildAndDeploy({ store, builds, space }, requested);
    if (refused !== undefined) return [{ ref: update.ref, refused }];
    push.deployed = true;
    try {
      if (push.ends?.grows) {
        await packed(repository); // which forgets ends that no ref leads to
        await push.ends.keep();
      }
      await refs.commit();
    } catch (cause) {
      throw new Fault("unavailable", `${short(commit)} is deployed, but its branch could not be moved; push again`, {
        cause,
      });
    }
    push.taken = update.ref;
    return [{ ref: update.ref, ...at }];
  };

  const explain = (push: Open, error: unknown, say: (text: string) => void): void => {
    const warn = warner(say);
    const { name } = push.app;
    if (signal.aborted) warn("control is restarting. A build that has begun goes on; push again to see how it ended.");
    else if (isFault(error) && error.code !== "internal")
      warn(`Push rejected to ${name}: ${plainText(causeChain(error).join(": "), 1_000)}`);
    else {
      log.error({ err: error, app: name }, "push failed");
      warn(`Push rejected to ${name}: something failed inside control, which its log tells`);
    }
  };

  /** Git has the packs, and nothing has or is going to have their commit: it neither runs, nor is built, nor does a ref lead to it. */
  const isForNothing = async ({ app: { id }, plan, packs, deployed, repository }: Open): Promise<boolean> => {
    if (plan?.commit === undefined || packs.length === 0 || deployed) return false;
    const app = findApp(store, id).value;
    if (isDeployed(store, builds, app, plan.commit) || running(store, app, plan.commit) !== undefined) return false;
    return (await isUnreached(repositories, repository, plan.commit)) === true;
  };

  /** Once git and control are both done with it. */
  const leave = async (id: string, push: Open): Promise<void> => {
    if (!push.ended || push.busy > 0 || !open.delete(id)) return;
    try {
      await push.plan?.refs?.release();
      if (push.taken !== undefined) await onTaken(push.repository, push.taken);
      else if (await isForNothing(push)) {
        await removePacks(push.repository, push.packs);
        for (const other of open.values()) if (other.repository === push.repository) other.doubtful = true;
      }
      await push.ends?.drop();
    } catch (error) {
      log.error({ err: error, app: push.app.name }, "after a push");
    } finally {
      push.endTurn?.();
    }
  };
  const busy = async <T>(id: string, push: Open, work: () => Promise<T>): Promise<T> => {
    push.busy++;
    try {
      return await work();
    } finally {
      push.busy--;
      void leave(id, push);
    }
  };

  return {
    size: () => open.size,
    async begin(app, by) {
      const same = [...open.values()].filter((each) => each.app.id === app.id).length;
      if (open.size >= LIMITS.sessions || same >= LIMITS.sessionsOfApp)
        throw new Fault("rate-limited", "too many pushes at once; try again when some have ended");
      const id = newSecret();
      const push: Open = { app, by, repository: "", asked: "nothing", ended: false, busy: 0, packs: [] };
      open.set(id, push); // counted from here on
      const over = new AbortController();
      const both = joined(signal, over.signal);
      const end = () => {
        push.ended = true;
        over.abort(new Fault("unavailable", "the push has ended"));
        void leave(id, push);
      };
      try {
        push.repository = await repositories.open(app.id, deployBranches(app)[0]);
        push.ends = await historyEnds(repositories, push.repository, id.slice(0, 8));
      } catch (error) {
        end();
        throw error;
      }
      const { repository, ends } = push;
      return { id, repository, env: ends.env, onShallow: (commits) => ends.add(commits, both.signal), end };
    },
    async decide(hook) {
      const { push: id, quarantine: path, say } = hook;
      const push = open.get(id);
      const quarantine = push && quarantineOf(push.repository, path);
      // Each hook asks once, about objects of its own repository; a push of deletions alone brings none.
      if (push === undefined || push.ended || push.asked !== "nothing" || (quarantine === undefined && path !== "")) {
        warner(say)("control does not know this push");
        return 1;
      }
      push.asked = "decide";
      return busy(id, push, async () => {
        try {
          push.plan = await judged(push, hook, quarantine);
        } catch (error) {
          explain(push, error, say);
        }
        log.info({ app: push.app.name, commit: push.plan?.commit, admitted: push.plan !== undefined }, "push decided");
        return push.plan === undefined ? 1 : 0;
      });
    },
    async take({ push: id, say, input, answer }) {
      const push = open.get(id);
      if (push?.plan === undefined || push.ended || push.asked !== "decide") return 1;
      const { plan } = push;
      push.asked = "take";
      return busy(id, push, async () => {
        const updates = await receiveCommands(pktSections(input), answer);
        if (JSON.stringify(updates) !== JSON.stringify(plan.updates)) throw new Error("git asks for other refs now");
        const outcomes = await carriedOut(push, plan, say).catch((error: unknown) => {
          explain(push, error, say);
          return updates.map(({ ref }) => ({ ref, refused: signal.aborted ? "control is restarting" : "see above" }));
        });
        answer(report(outcomes));
        log.info({ app: push.app.name, commit: plan.commit, outcomes }, "push carried out");
        return 0;
      });
    },
  };
}

const warner = (say: (text: string) => void) => (line: string) => say(` !     ${line}\n`);
const branchOf = ({ ref }: Update): string => ref.replace(/^refs\/heads\//, "");
const short = (oid: string): string => (isNone(oid) ? "nothing" : oid.slice(0, 8));

/** The directory, when it is one that git makes for a push inside of this repository. */
function quarantineOf(repository: string, path: string): string | undefined {
  const whole = resolve(repository, path);
  return dirname(whole) === join(repository, "objects") && QUARANTINE.test(basename(whole)) ? whole : undefined;
}

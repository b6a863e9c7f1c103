// A push from git's pre-receive hook to the verdict: judged, queued behind the app's other pushes, built, deployed. A client that
// goes away changes nothing; only git's own process and control belong to it.
import { basename, dirname, join, resolve } from "node:path";
import type { App } from "#api/apps.ts";
import type { Build } from "#api/builds.ts";
import { Fault, isFault } from "#api/fault.ts";
import { newSecret } from "#lib/ids.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { currentRelease, findApp } from "../apps/find.ts";
import type { Builds } from "../builds/builds.ts";
import { plainText } from "../events.ts";
import { keys } from "../keys.ts";
import type { Store } from "../store/store.ts";
import { LIMITS } from "./limits.ts";
import type { Repositories } from "./repositories.ts";
import { archiveOf, checkTree, type Tree } from "./source.ts";
import { type Turns, turns } from "./turns.ts";
import { deployBranches, judge, parseUpdates, type Update } from "./updates.ts";

export type PushBuilds = Pick<Builds, "create" | "get" | "follow">;

export interface PushOptions {
  store: Store;
  builds: PushBuilds;
  repositories: Repositories;
  log: Log;
  /** Aborts when control ends. */
  signal: AbortSignal;
  /** A push was taken and its git process has ended, before the app's next push has its turn. */
  onTaken: (repository: string, ref: string) => Promise<void>;
}

/** A git process that serves one client. */
export interface Session {
  /** What names it to the hook; nobody can guess it. */
  id: string;
  repository: string;
  /** To be called when the git process is over: the app's next push goes on. */
  end(): void;
}

export interface Pushes {
  /** Fault `rate-limited` when there are too many already. */
  begin(app: App, by: string): Promise<Session>;
  /** The hook's question. Resolves with the exit code that git is given. */
  decide(hook: Hook): Promise<number>;
  /** Git processes that serve pushes now. */
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

interface Open {
  app: App;
  by: string;
  repository: string;
  asked: boolean;
  /** Its git process is over, whatever the hook still waits for. */
  ended: boolean;
  /** The ref that was let through. */
  taken?: string;
  endTurn?: () => void;
}

const QUARANTINE = /^(tmp_objdir-)?incoming-[A-Za-z0-9]{1,32}$/;

export function pushes({ store, builds, repositories, log, signal, onTaken }: PushOptions): Pushes {
  const open = new Map<string, Open>();
  const queue: Turns = turns();

  const decide = async (push: Open, update: Update, tree: Tree, say: (text: string) => void): Promise<number> => {
    const { repository, by } = push;
    const warn = (text: string) => say(` !     ${text}\n`);
    const endTurn = await queue.take(push.app.id, {
      signal,
      onWait: (before) =>
        say(
          `-----> ${before === 1 ? "Another push" : `${before} other pushes`} to ${push.app.name} first; this one waits\n`,
        ),
    });
    push.endTurn = endTurn;
    if (push.ended) {
      endTurn(); // its git died while it waited: nobody else would
      return 1;
    }
    const app = findApp(store, push.app.id).value;
    const head = (await repositories.resolve(repository, update.ref)) ?? update.to.replace(/./g, "0");
    if (head === update.to) {
      warn(`Another push of ${short(head)} was first, and is what runs here: flynn build log`);
      return 1;
    }
    if (head !== update.from) {
      warn(`${update.ref.replace(/^refs\/heads\//, "")} has moved to ${short(head)} meanwhile: nothing was built.`);
      warn("Fetch it, put your work on top of it, and push again.");
      return 1;
    }
    if (isDeployed(store, builds, app, update.to)) {
      say(
        `=====> ${short(update.to)} is built and deployed already; only the branch moves. To deploy it again: flynn redeploy\n`,
      );
      return 0;
    }
    let build = running(store, app, update.to);
    if (build === undefined) {
      await checkTree(tree);
      const wish = { appId: app.id, type: "git", commit: update.to, ref: update.ref, by, signal } as const;
      build = await builds.create({ ...wish, source: archiveOf(tree) });
    } else say(`-----> ${short(update.to)} is being built already, as build ${build.number}; this is how it goes on\n`);
    for await (const { text } of builds.follow(app.id, build.id, { signal })) if (text !== "") say(text);
    const last = builds.get(app.id, build.id);
    if (last?.state === "succeeded") return 0;
    signal.throwIfAborted();
    warn(
      `Push rejected to ${app.name}: build ${build.number} ${last?.state === "cancelled" ? "was cancelled" : "failed"}.`,
    );
    return 1;
  };

  return {
    size: () => open.size,
    async begin(app, by) {
      const same = [...open.values()].filter((each) => each.app.id === app.id).length;
      if (open.size >= LIMITS.sessions || same >= LIMITS.sessionsOfApp)
        throw new Fault("rate-limited", "too many pushes at once; try again when some have ended");
      const id = newSecret();
      const push: Open = { app, by, repository: "", asked: false, ended: false };
      open.set(id, push); // counted from here on
      const end = () => {
        if (!open.delete(id)) return;
        push.ended = true;
        const taken = push.taken === undefined ? Promise.resolve() : onTaken(push.repository, push.taken);
        void taken
          .catch((error: unknown) => log.error({ err: error, app: app.name }, "after a push"))
          .then(() => push.endTurn?.());
      };
      try {
        push.repository = await repositories.open(app.id, deployBranches(app)[0]);
      } catch (error) {
        end();
        throw error;
      }
      return { id, repository: push.repository, end };
    },
    async decide({ push: id, quarantine: path, updates: text, say }) {
      const push = open.get(id);
      const warn = (line: string) => say(` !     ${line}\n`);
      const quarantine = push && quarantineOf(push.repository, path);
      // One question per git process, about objects of its own repository; a push of deletions alone brings none.
      if (push === undefined || push.asked || (quarantine === undefined && path !== "")) {
        warn("control does not know this push");
        return 1;
      }
      push.asked = true;
      try {
        const updates = parseUpdates(text);
        if (updates === undefined) throw new Fault("invalid", "the names of the refs are not sound");
        const judgement = judge(updates, findApp(store, push.app.id).value);
        if ("refused" in judgement) {
          warn(`Push rejected to ${push.app.name}:`);
          for (const line of judgement.refused) warn(line);
          return 1;
        }
        const { repository } = push;
        const tree = { repositories, repository, commit: judgement.deploy.to, quarantine, signal };
        const code = await decide(push, judgement.deploy, tree, say);
        if (code === 0) push.taken = judgement.deploy.ref;
        log.info({ app: push.app.name, commit: judgement.deploy.to, code }, "push decided");
        return code;
      } catch (error) {
        if (signal.aborted)
          warn("control is restarting. A build that has begun goes on; push again to see how it ended.");
        else if (isFault(error) && error.code !== "internal")
          warn(`Push rejected to ${push.app.name}: ${plainText(causeChain(error).join(": "), 1_000)}`);
        else {
          log.error({ err: error, app: push.app.name }, "push failed");
          warn(`Push rejected to ${push.app.name}: something failed inside control, which its log tells`);
        }
        return 1;
      }
    },
  };
}

const short = (oid: string): string => (/^0+$/.test(oid) ? "nothing" : oid.slice(0, 8));

/** The directory, when it is one that git makes for a push inside of this repository. */
function quarantineOf(repository: string, path: string): string | undefined {
  const whole = resolve(repository, path);
  return dirname(whole) === join(repository, "objects") && QUARANTINE.test(basename(whole)) ? whole : undefined;
}

const isOver = ({ state }: Build): boolean => state === "succeeded" || state === "failed" || state === "cancelled";

/** The newest build of the app, when it is of this commit and not over: an earlier push of it lost its client or its control. */
function running(store: Store, app: App, commit: string): Build | undefined {
  const newest = store
    .list<Build>(keys.buildsOf(app.id))
    .map(({ value }) => value)
    .reduce<Build | undefined>(
      (most, build) => (most === undefined || build.number > most.number ? build : most),
      undefined,
    );
  return newest !== undefined && !isOver(newest) && newest.source.commit === commit ? newest : undefined;
}

/** What runs now came from a build of this commit. */
function isDeployed(store: Store, builds: PushBuilds, app: App, commit: string): boolean {
  const release = currentRelease(store, app);
  if (release?.buildId === undefined || release.commit !== commit) return false;
  const build = builds.get(app.id, release.buildId);
  return build?.state === "succeeded" && build.source.commit === commit && build.artifactId === release.artifactId;
}

// Git as a whole, put together: repositories on disk, pushes over HTTPS and SSH, the relays' socket, what is built again.
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { buffer } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import type { FastifyInstance } from "fastify";
import type { App } from "#api/apps.ts";
import type { Build } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import type { GitRepository } from "#api/git.ts";
import { readText } from "#lib/files.ts";
import { every, joined, unhurriedNow, until } from "#lib/time.ts";
import type { BuildRequest } from "../builds/builds.ts";
import { buildsOf } from "../builds/record.ts";
import type { Context } from "../context.ts";
import { keys } from "../keys.ts";
import type { PushBuilds } from "./deploy.ts";
import { type Caller, type Door, openDoor } from "./door.ts";
import { gitHttp } from "./http.ts";
import { LIMITS, type Limits } from "./limits.ts";
import { pushes } from "./pushes.ts";
import { repositories } from "./repositories.ts";
import { archiveOf, checkTree } from "./source.ts";
import { objectBytes, pushSpace } from "./space.ts";
import { serveSsh } from "./ssh.ts";
import { authorizedKeysLine, type SshKeys, sshKeys } from "./ssh-keys.ts";
import { deployBranches } from "./updates.ts";

export interface Git {
  /** Smart HTTP on the API's listener. */
  mount(app: FastifyInstance): void;
  keys: SshKeys;
  describe(app: App): Promise<GitRepository>;
  /** Builds what the deploy branch is at. Fault `conflict` when nothing was pushed yet. */
  redeploy(app: App, requested: Pick<BuildRequest, "by" | "signal" | "idempotent">): Promise<Build>;
  /** Opens the relays' socket and keeps the repositories, until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
  /** Tells who waits that control ends, and closes the socket. Builds go on. */
  close(): Promise<void>;
}

const RELAY_DIR = join(dirname(fileURLToPath(import.meta.url)), "relay");
const SWEEP_MS = 3_600_000;
const END_MS = 3_000;
/** What a forced push left behind goes, but for what a push under way may count on. */
const TIDY = [
  ...["-c", "gc.reflogExpire=now", "-c", "gc.reflogExpireUnreachable=now"],
  ...["gc", "--quiet", "--prune=1.hour.ago"],
];
const UPDATES_MOST_BYTES = 1 << 20;

type GitContext = Pick<Context, "store" | "config" | "log" | "now" | "room" | "presence">;

export function createGit(
  { store, config, log, now, room, presence }: GitContext,
  builds: PushBuilds,
  limits: Pick<Limits, "silentMs" | "packBytes"> = LIMITS,
): Git {
  const directory = join(config.stateDir, "git");
  const socket = join(directory, "door", "git.sock");
  const ending = new AbortController();
  const { signal } = ending;
  const repos = repositories(directory, { hooksDir: RELAY_DIR, packBytes: limits.packBytes });
  const space = pushSpace(room, config.appGitBytes);
  const people = sshKeys(store, now);
  const packings = new Map<string, Promise<unknown>>();
  let fetches = 0;

  const slot = () => {
    if (fetches >= LIMITS.sessions) throw new Fault("rate-limited", "too many fetches at once; try again in a moment");
    fetches++;
    let over = false;
    return () => {
      if (!over) fetches--;
      over = true;
    };
  };
  const hookEnv = (id: string): NodeJS.ProcessEnv => ({
    FLYNN_NODE: process.execPath,
    FLYNN_RELAY: join(RELAY_DIR, "relay.ts"),
    FLYNN_SOCKET: socket,
    FLYNN_PUSH: id,
    NODE_COMPILE_CACHE: join(directory, "compiled"), // half of the relay's start is its compilation
  });
  /** A clone checks out what HEAD names; packing waits for nobody. */
  const onTaken = async (repository: string, ref: string): Promise<void> => {
    if (signal.aborted || !existsSync(repository)) return;
    if (await repos.resolve(repository, ref)) await repos.git(repository, ["symbolic-ref", "HEAD", ref]);
    const packing = repos
      .git(repository, (await space.isTight(repository)) ? TIDY : ["gc", "--auto", "--quiet"], {
        timeoutMs: 600_000,
        signal,
      })
      .catch(
        (error: unknown) => signal.aborted || log.error({ err: error, repository }, "a repository could not be packed"),
      )
      .finally(() => packings.get(repository) === packing && packings.delete(repository));
    packings.set(repository, packing);
  };
  const packed = async (repository: string): Promise<void> => void (await packings.get(repository));
  const pushing = pushes({ store, builds, repositories: repos, space, log, signal, onTaken, packed });

  const serve = async (caller: Caller): Promise<void> => {
    const { opening } = caller;
    const push = String(opening["push"]);
    if (opening.ask === "hook") {
      const updates = (await buffer(limited(caller))).toString("utf8");
      const say = (text: string) => void caller.write("stdout", Buffer.from(text));
      caller.exit(await pushing.decide({ push, quarantine: String(opening["quarantine"]), updates, say }));
    } else if (opening.ask === "take") {
      const say = (text: string) => void caller.write("stderr", Buffer.from(text));
      const answer = (bytes: Buffer) => void caller.write("stdout", bytes);
      caller.exit(await pushing.take({ push, input: caller.input, say, answer }));
    } else if (opening.ask === "ssh") {
      await serveSsh(caller, {
        store,
        keys: people,
        pushes: pushing,
        repositories: repos,
        hookEnv,
        slot,
        limits,
        space,
        log,
      });
    } else if (opening.ask === "keys") {
      const key = people.find(String(opening["fingerprint"]));
      if (key) caller.write("stdout", Buffer.from(authorizedKeysLine(key, config.sshRelay)));
      caller.exit(0);
    } else throw new Error(`a relay asked for ${opening.ask}`);
  };

  let door: Promise<Door> | undefined;
  const ready = async (): Promise<void> => {
    door ??= repos.prepare().then(() =>
      openDoor({
        path: socket,
        ...(config.sshRelay.length > 0 ? { ownerUid: config.sshUid } : {}),
        serve,
        log,
      }),
    );
    await door;
  };
  const headOf = async (app: App): Promise<{ repository: string; head?: { branch: string; commit: string } }> => {
    await ready();
    const repository = await repos.open(app.id, deployBranches(app)[0]);
    const found = await Promise.all(
      deployBranches(app).map(async (branch) => {
        const commit = await repos.resolve(repository, `refs/heads/${branch}`);
        return commit === undefined ? [] : [{ branch, commit }];
      }),
    );
    const heads = found.flat();
    if (heads.length < 2) return { repository, head: heads[0] };
    const { stdout } = await repos.git(repository, ["symbolic-ref", "HEAD"]);
    return { repository, head: heads.find(({ branch }) => stdout.trim() === `refs/heads/${branch}`) ?? heads[0] };
  };
  const redeployed: Git["redeploy"] = async (app, { by, signal: until, idempotent }) => {
    await room.admit();
    const { repository, head } = await headOf(app);
    if (head === undefined) throw new Fault("conflict", nothingTaken(app, store));
    const tree = {
      repositories: repos,
      repository,
      commit: head.commit,
      signal: until,
    };
    await checkTree(tree);
    const packedBytes = await objectBytes(repository);
    const ref = `refs/heads/${head.branch}`;
    const requested = { appId: app.id, type: "git", commit: head.commit, ref, by, packedBytes } as const;
    return builds.create({ ...requested, source: archiveOf(tree), signal: until, idempotent });
  };

  return {
    keys: people,
    mount: (app) =>
      gitHttp(app, { store, presence, pushes: pushing, repositories: repos, hookEnv, slot, limits, space, log, ready }),
    async describe(app) {
      const { head } = await headOf(app);
      return {
        branches: [...deployBranches(app)],
        ...(head ? { head } : {}),
        path: `/git/${app.name}.git`,
        ...(config.sshRelay.length > 0
          ? { ssh: { port: config.sshPort, user: "git", hostKeys: await hostKeys(config.sshHostKeys) } }
          : {}),
      };
    },
    async redeploy(app, { by, signal: callerGone, idempotent }) {
      const either = joined(signal, callerGone);
      try {
        return await redeployed(app, { by, signal: either.signal, idempotent });
      } finally {
        either.release();
      }
    },
    async run(until) {
      await ready();
      for await (const _ of every(SWEEP_MS, until)) {
        const { setAside, deleted } = await repos.sweep(
          (appId) => store.get(keys.app(appId)) !== undefined,
          new Date(unhurriedNow(now().getTime())),
        );
        if (setAside.length > 0)
          log.warn({ setAside }, "repositories of apps that are not known are set aside for a week");
        if (deleted.length > 0) log.info({ deleted }, "repositories that were set aside a week ago are deleted");
      }
    },
    async close() {
      ending.abort(new Fault("unavailable", "control ends"));
      if (door === undefined) return;
      // Bounded: what still sends its pack is cut off, and git throws away what it has of it.
      await until(() => pushing.size() === 0, { what: "the end of every push", timeoutMs: END_MS, everyMs: 20 }).catch(
        (error: unknown) => log.info({ err: error }, "pushes are cut off"),
      );
      await (await door).close();
    },
  };
}

/** Why there is nothing to deploy again. */
function nothingTaken(app: App, store: Context["store"]): string {
  const last = buildsOf(store, app.id).findLast(({ source }) => source.type === "git");
  const how = last?.state === "cancelled" ? "was cancelled" : last?.state === "failed" ? "failed" : "has not ended";
  const why =
    last === undefined
      ? ""
      : `; build ${last.number} of ${last.source.commit?.slice(0, 8)} ${how} (flynn build log ${last.number})`;
  return `no push to ${app.name} was taken yet${why}. To deploy: git push flynn ${deployBranches(app)[0]}`;
}

/** What a hook sends, not without end. */
async function* limited({ input }: Caller): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const chunk of input.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > UPDATES_MOST_BYTES) throw new Error("a hook sent too much");
    yield chunk;
  }
}

/** The public halves of sshd's own keys, `TYPE BASE64` each. */
async function hostKeys(path: string): Promise<string[]> {
  const names = path === "" ? [] : (await readdir(path)).filter((name) => name.endsWith(".pub")).sort();
  const lines = await Promise.all(names.map((name) => readText(join(path, name))));
  return lines.flatMap((line) => {
    const [type, blob] = (line ?? "").split(" ");
    return type && blob ? [`${type} ${blob}`.trim()] : [];
  });
}

// git over SSH: what sshd's forced command is asked, parsed strictly, and git run by control itself, so that a client or an sshd
// that dies takes nothing with it.
import { PassThrough } from "node:stream";
import { isFault } from "#api/fault.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { plainText } from "../events.ts";
import type { Store } from "../store/store.ts";
import { appOf, isService, type Service } from "./access.ts";
import { commandGate } from "./commands.ts";
import type { Caller } from "./door.ts";
import { feed } from "./feed.ts";
import { LIMITS, type Limits } from "./limits.ts";
import type { Pushes } from "./pushes.ts";
import type { Repositories } from "./repositories.ts";
import type { PushSpace } from "./space.ts";
import type { SshKeys } from "./ssh-keys.ts";
import { deployBranches } from "./updates.ts";

/** `git-receive-pack '/hello.git'` as git sends it, quoted or not; undefined for every other command. */
export function parseSshCommand(command: string): { service: Service; repository: string } | undefined {
  const match = /^git[ -](upload-pack|receive-pack) (?:'\/?([A-Za-z0-9._-]{1,80})'|\/?([A-Za-z0-9._-]{1,80}))$/.exec(
    command,
  );
  const service = match && `git-${match[1]}`;
  const repository = match?.[2] ?? match?.[3];
  return isService(service) && repository !== undefined ? { service, repository } : undefined;
}

export interface GitSshOptions {
  store: Store;
  keys: SshKeys;
  pushes: Pushes;
  repositories: Repositories;
  hookEnv: (pushId: string) => NodeJS.ProcessEnv;
  slot: () => () => void;
  limits: Pick<Limits, "silentMs">;
  space: PushSpace;
  log: Log;
}

/** Serves one session to its end. */
export async function serveSsh(caller: Caller, options: GitSshOptions): Promise<void> {
  const { log } = options;
  try {
    await session(caller, options);
  } catch (error) {
    const known = isFault(error) && error.code !== "internal";
    if (!known) log.error({ err: error }, "an ssh session failed");
    const text = known
      ? plainText(causeChain(error).join(": "), 1_000)
      : "something failed inside control, which its log tells";
    caller.write("stderr", Buffer.from(`flynn: ${text}\n`));
    caller.exit(1);
  }
}

async function session(caller: Caller, options: GitSshOptions): Promise<void> {
  const { store, keys, pushes, repositories, hookEnv, slot, limits, space, log } = options;
  const { key: keyId, command, protocol } = caller.opening;
  const key = keys.get(String(keyId));
  const refuse = (text: string) => {
    caller.write("stderr", Buffer.from(`flynn: ${text}\n`));
    caller.exit(1);
  };
  if (key === undefined) return refuse("this key was removed; see `flynn key list`");
  const asked = parseSshCommand(String(command));
  if (asked === undefined)
    return refuse(
      command === ""
        ? `hello ${key.name}, the key is good; there is no shell here, only git: git clone, git fetch, git push`
        : "only git is served here: git clone, git fetch, git push with ssh://git@HOST:PORT/APP.git",
    );
  const app = appOf(store, asked.repository);
  const isPush = asked.service === "git-receive-pack";
  const push = isPush ? await pushes.begin(app, `${key.createdBy} (ssh key ${key.name})`) : undefined;
  const end = push?.end ?? slot();
  try {
    const repository = push?.repository ?? (await repositories.open(app.id, deployBranches(app)[0]));
    const admit = isPush ? await space.bring(repository) : async () => undefined;
    const child = repositories.spawn(
      [asked.service.slice("git-".length), ...(isPush ? [] : ["--strict"]), repository],
      {
        ...(push ? { ...hookEnv(push.id), ...push.env } : {}),
        ...(/^version=[0-2]$/.test(String(protocol)) ? { GIT_PROTOCOL: String(protocol) } : {}),
      },
    );
    child.once("close", end).once("error", end);
    const closed = new Promise<number>((resolve) => {
      child.once("close", (code) => resolve(code ?? 1));
      child.once("error", (error) => {
        log.error({ err: error }, "git could not be started");
        resolve(1);
      });
    });
    const late = setTimeout(() => child.stdin.destroy(), LIMITS.transferMs);
    child.stdin.on("error", () => undefined);
    // A fetch ends with its client. A push does only as long as its pack is not here: then git sees an end that is none.
    if (!isPush) caller.gone.addEventListener("abort", () => child.kill("SIGKILL"), { once: true });
    const gate = commandGate(LIMITS.commands, { admit, onShallow: push?.onShallow });
    const feeding = () =>
      silenceBound(caller, {
        silentMs: limits.silentMs,
        stalled: () => child.stdin.destroy(),
        work: feed(caller.input, isPush ? gate.stream : new PassThrough(), child.stdin),
      });
    const fed = (
      isPush
        ? space.filling(caller.gone, async (signal) => {
            signal.addEventListener("abort", () => isFault(signal.reason) && gate.refuse(signal.reason), {
              once: true,
            });
            await feeding();
          })
        : feeding()
    ).catch((error: unknown) => {
      if (isFault(error, "no-capacity")) gate.refuse(error);
      child.stdin.destroy();
    });
    const copy = async (name: "stdout" | "stderr") => {
      for await (const chunk of child[name] as AsyncIterable<Buffer>)
        if (!caller.write(name, chunk) && !isPush) await caller.drained();
    };
    await Promise.all([copy("stdout"), copy("stderr")]);
    const code = await closed;
    clearTimeout(late);
    const refused = gate.refused();
    if (refused) caller.write("stderr", Buffer.from(`flynn: ${refused.message}\n`));
    caller.exit(refused ? 1 : code);
    await fed;
  } catch (error) {
    end();
    throw error;
  }
}

/** A client that is to send and sends nothing for too long ends the wait; `work` is the sending. */
async function silenceBound(
  caller: Caller,
  { silentMs, stalled, work }: { silentMs: number; stalled: () => void; work: Promise<void> },
): Promise<void> {
  const silence = setTimeout(stalled, silentMs);
  const onData = () => silence.refresh();
  caller.input.on("data", onData);
  try {
    await work;
  } finally {
    caller.input.off("data", onData);
    clearTimeout(silence);
  }
}

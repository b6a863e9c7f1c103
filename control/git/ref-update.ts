// A change of refs in git's own two steps (git-update-ref(1), `prepare` and `commit`). Once it is prepared git has made every check
// it has, written what is to be and holds the locks: what is left is a rename.
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Fault } from "#api/fault.ts";
import { deadline } from "#lib/time.ts";
import { plainText } from "../events.ts";
import { quarantineEnv } from "./repositories.ts";
import type { Tree } from "./source.ts";
import { isNone, type Update } from "./updates.ts";

export interface PreparedRefs {
  /** Git holds the locks still, or again. Fault as of `prepareRefs` when it cannot. */
  hold(): Promise<void>;
  /** Resolves when every ref is where it is to be, whether or not git lived to answer. Rejects when that is not so, or not known. */
  commit(): Promise<void>;
  /** Nothing changes, and no lock is left. */
  release(): Promise<void>;
}

export type RefPlace = Pick<Tree, "repositories" | "repository" | "quarantine">;

const PREPARE_MS = 30_000;
const COMMIT_MS = 30_000;
const END_MS = 5_000;

/** Faults in the pusher's words: `conflict` (another branch's name is in the way, the branch has moved), `unavailable` (a lock), `no-capacity` (the disk). */
export async function prepareRefs(place: RefPlace, updates: readonly Update[]): Promise<PreparedRefs> {
  const { repository } = place;
  let holder = await lock(place, updates);

  const hold = async (): Promise<void> => {
    if (holder.lives() && (await locked(repository, updates))) return;
    await holder.end();
    holder = await lock({ ...place, quarantine: undefined }, updates);
  };
  return {
    hold,
    async commit() {
      if (await holder.commit()) return;
      await holder.end(); // after which nothing moves a ref late: they say what became of it
      const left = await unmoved(place, updates);
      if (left.length === 0) return;
      holder = await lock({ ...place, quarantine: undefined }, left);
      if (await holder.commit()) return;
      await holder.end();
      if ((await unmoved(place, left)).length > 0) throw new Fault("unavailable", holder.words());
    },
    release: () => holder.end(),
  };
}

/** Those whose ref is not where it is to be. Rejects when a ref cannot be read. */
async function unmoved({ repositories, repository }: RefPlace, updates: readonly Update[]): Promise<Update[]> {
  const { stdout, stderr } = await repositories.git(repository, ["for-each-ref", "--format=%(refname) %(objectname)"]);
  if (stderr !== "") throw new Error(`read refs: ${stderr.trim()}`);
  const oids = new Map(stdout.split("\n").map((line) => line.split(" ") as [string, string]));
  return updates.filter(({ ref, to }) => oids.get(ref) !== (isNone(to) ? undefined : to));
}

interface Holder {
  lives(): boolean;
  commit(): Promise<boolean>;
  /** What git said when it gave up. */
  words(): string;
  end(): Promise<void>;
}

async function lock(place: RefPlace, updates: readonly Update[]): Promise<Holder> {
  const { repositories, repository } = place;
  const child = repositories.spawn([`--git-dir=${repository}`, "update-ref", "--stdin", "-z"], quarantineEnv(place));
  let said = "";
  let over = false;
  const closed = new Promise<void>((resolve) => {
    const end = () => {
      over = true;
      resolve();
    };
    child.once("close", end).once("error", end);
  });
  child.stdin.on("error", () => undefined); // told by the answer that does not come
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    if (said.length < 4_000) said += text;
  });
  const answers = createInterface({ input: child.stdout });
  const words = () => refusalWords(said, updates[0]?.ref ?? "");

  const ask = async (command: "prepare" | "commit", text: string, timeoutMs: number): Promise<boolean> => {
    if (over) return false;
    const heard = new Promise<boolean>((resolve) => {
      const onLine = (line: string) => line === `${command}: ok` && done(true);
      const done = (yes: boolean) => {
        answers.off("line", onLine);
        resolve(yes);
      };
      answers.on("line", onLine);
      void closed.then(() => done(false));
    });
    child.stdin.write(`${text}${command}\0`);
    return deadline(heard, timeoutMs, `git's answer to ${command}`).catch(() => false);
  };
  /** The end of its input lets go of its locks; a git that is stuck is killed, and its locks taken away by us, who hold the turn. */
  const finish = async (): Promise<void> => {
    const killed = over && child.signalCode !== null;
    child.stdin.end();
    const late = setTimeout(() => child.kill("SIGKILL"), END_MS);
    await closed;
    clearTimeout(late);
    if (killed || child.signalCode !== null)
      for (const { ref, to } of [...updates, HEAD]) await removeLock(join(repository, `${ref}.lock`), to);
  };
  let ending: Promise<void> | undefined;
  const end = (): Promise<void> => {
    ending ??= finish(); // once: a lock that is there later is another's
    return ending;
  };

  const changes = updates.map(({ ref, from, to }) =>
    isNone(to) ? `delete ${ref}\0${from}\0` : `update ${ref}\0${to}\0${from}\0`,
  );
  if (await ask("prepare", `start\0${changes.join("")}`, PREPARE_MS))
    return { lives: () => !over, commit: () => ask("commit", "", COMMIT_MS), words, end };
  await end();
  throw new Fault(refusalCode(said), words());
}

/** What a killed holder left; a lock that says something else is somebody else's. */
async function removeLock(file: string, to: string): Promise<void> {
  const text = await readFile(file, "utf8").catch(() => undefined);
  if (text === `${to}\n` || text === "") await rm(file, { force: true });
}

/** Locked too, and left empty, while the branch that it names is moved. */
const HEAD = { ref: "HEAD", to: "" };

/** The lock files are where git put them, and say what it wrote. */
const locked = async (repository: string, updates: readonly Update[]): Promise<boolean> => {
  const texts = await Promise.all(
    updates.map(({ ref }) => readFile(join(repository, `${ref}.lock`), "utf8").catch(() => undefined)),
  );
  return updates.every(({ to }, n) => texts[n] === (isNone(to) ? "" : `${to}\n`));
};

const NAMES = /'([^']+)' exists; cannot create '[^']+'/;
const MOVED = /but expected|reference already exists|unable to resolve reference/;
const LOCKED = /Unable to create '([^']+\.lock)': File exists/;
const FULL = /No space left on device|Disk quota exceeded/;

function refusalCode(said: string): "conflict" | "unavailable" | "no-capacity" {
  if (FULL.test(said)) return "no-capacity";
  return NAMES.test(said) || MOVED.test(said) ? "conflict" : "unavailable";
}

/** Git's reason in words that say what to do. Pure. */
export function refusalWords(said: string, ref: string): string {
  const branch = ref.replace(/^refs\/heads\//, "");
  const other = NAMES.exec(said)?.[1]?.replace(/^refs\/heads\//, "");
  if (other !== undefined)
    return `git keeps no branch ${branch} beside a branch ${other}: delete that one (git push flynn --delete ${other}), then push again`;
  const file = LOCKED.exec(said)?.[1]?.split("/").slice(-3).join("/");
  if (file !== undefined)
    return `branch ${branch} is locked by another git on the appliance (${file}); push again in a moment. Control takes locks that nobody holds away when it is started again`;
  if (FULL.test(said))
    return `the disk of the appliance is full: branch ${branch} cannot be moved. Free some of it, then push again`;
  if (MOVED.test(said))
    return `branch ${branch} has moved meanwhile: fetch it, put your work on top of it, and push again`;
  const line = said.split("\n").find((each) => each.trim() !== "") ?? "git ended without a word";
  return `branch ${branch} cannot be moved: ${plainText(line.replace(/^(fatal|error): (prepare: )?/, ""), 300)}`;
}

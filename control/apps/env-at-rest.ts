// Environments as the store keeps them: names in the clear, values sealed. Whoever needs the values asks here, nowhere else.
import type { Release } from "#api/apps.ts";
import { PREFIX } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import { keyOf, type Secrets } from "../secrets.ts";
import type { Change, Store } from "../store/store.ts";

export type Env = Readonly<Record<string, string>>;

const RESEALED_AT_ONCE = 200;
const opened = new WeakMap<object, Env>();

export function sealRelease(secrets: Secrets, { env, ...release }: Release): ReleaseRecord {
  return { ...release, envNames: Object.keys(env).sort(), sealed: sealEnv(secrets, ownerOf(release), env) };
}

/** The variables of a release. Records of the store are frozen, so each is opened once. */
export function openEnv(secrets: Secrets, release: ReleaseRecord): Env {
  const known = opened.get(release);
  if (known !== undefined) return known;
  const env =
    release.sealed === undefined ? (release.env ?? {}) : openSealed(secrets, ownerOf(release), release.sealed);
  opened.set(release, env);
  return env;
}

export const openRelease = (secrets: Secrets, release: ReleaseRecord): Release => {
  const { sealed: _, envNames: __, env: ___, ...rest } = release;
  return { ...rest, env: { ...openEnv(secrets, release) } };
};

/** What the store keeps of a job's own variables. */
export interface TaskEnvRecord {
  sealed: string;
}

export const sealTaskEnv = (secrets: Secrets, jobId: string, env: Env): TaskEnvRecord => ({
  sealed: sealEnv(secrets, `task ${jobId}`, env),
});

export const openTaskEnv = (secrets: Secrets, jobId: string, { sealed }: TaskEnvRecord): Env =>
  openSealed(secrets, `task ${jobId}`, sealed);

const sealEnv = (secrets: Secrets, owner: string, env: Env): string => secrets.seal(JSON.stringify(env), owner);

const openSealed = (secrets: Secrets, owner: string, sealed: string): Env =>
  JSON.parse(secrets.open(sealed, owner)) as Env;

/** Ids of the keys that the state cannot be read without: of every record's field `sealed` or `sealedKey`. */
export function keysNeeded(store: Store): Set<string> {
  const needed = new Set<string>();
  for (const prefix of Object.values(PREFIX))
    for (const { value } of store.list<{ sealed?: unknown; sealedKey?: unknown } | null>(prefix)) {
      const sealed = value?.sealed ?? value?.sealedKey;
      const id = typeof sealed === "string" ? keyOf(sealed) : undefined;
      if (id !== undefined) needed.add(id);
    }
  return needed;
}

/** Releases from before there was a key, and those of an older key, are written again, sealed. For the start of control. */
export async function reseal(store: Store, secrets: Secrets): Promise<void> {
  const old = store
    .list<ReleaseRecord>(PREFIX.releases)
    .filter(({ value }) => value.sealed === undefined || secrets.isOld(value.sealed));
  for (let at = 0; at < old.length; at += RESEALED_AT_ONCE) {
    const mutations: Change[] = old
      .slice(at, at + RESEALED_AT_ONCE)
      .map(({ key, value }) => ({ key, value: sealRelease(secrets, openRelease(secrets, value)) }));
    await store.commit({ actor: "control", mutations });
  }
}

const ownerOf = ({ id }: Pick<ReleaseRecord, "id">): string => `release ${id}`;

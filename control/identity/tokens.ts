// Access tokens as people make, see and revoke them. Kept by their sha256; nobody gives or takes a right that is not his own.

import type { Body } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";
import type { AccessToken, createToken, Scope } from "#api/tokens.ts";
import { newId, newSecret } from "#lib/ids.ts";
import { every } from "#lib/time.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import type { Idempotent } from "../http/idempotency-key.ts";
import { keys, PREFIX } from "../keys.ts";
import type { TokenRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Store } from "../store/store.ts";
import { type Principal, sha256Hex } from "./principal.ts";

/** How old the last use on record may be before a newer one is written. */
const USE_KNOWN_WITHIN_MS = 600_000;
const KEEP_EVERY_MS = 60_000;

export interface Tokens {
  list(): AccessToken[];
  /** By id or name. Faults `not-found`, and `conflict` for a name that several have. */
  find(idOrName: string): AccessToken;
  create(
    requested: Body<typeof createToken>,
    by: { principal: Principal; idempotent: Idempotent },
  ): Promise<AccessToken & { token: string }>;
  revoke(idOrName: string, by: Principal): Promise<void>;
  /** Writes which tokens were used since that was written last. */
  keepUses(): Promise<void>;
  /** Does so every now and then, until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

export function accessTokens({ store, presence, now }: Pick<Context, "store" | "presence" | "now">): Tokens {
  const entries = () => [...store.list<TokenRecord>(PREFIX.tokens)].sort((a, b) => (a.value.id < b.value.id ? -1 : 1));
  const usedAt = ({ id, lastUsedAt }: TokenRecord): string | undefined => presence.tokensUsed.get(id) ?? lastUsedAt;
  const shown = (record: TokenRecord): AccessToken => {
    const lastUsedAt = usedAt(record);
    return {
      ...record,
      permissions: record.permissions as Scope[],
      ...(lastUsedAt === undefined ? {} : { lastUsedAt }),
    };
  };
  const entryOf = (idOrName: string): Entry<TokenRecord> => {
    const all = entries();
    const found = all.filter(({ value }) => value.id === idOrName);
    const [one, other] = found.length > 0 ? found : all.filter(({ value }) => value.name === idOrName);
    if (one === undefined) throw new Fault("not-found", `no token ${idOrName}`);
    if (other !== undefined)
      throw new Fault("conflict", `several tokens are named ${idOrName}: give the id of one (${one.value.id}, ...)`);
    return one;
  };

  const tokens: Tokens = {
    list: () => entries().map(({ value }) => shown(value)),
    find: (idOrName) => shown(entryOf(idOrName).value),
    async create({ name, permissions, ttlMs }, { principal, idempotent }) {
      mayGive(principal, permissions);
      if (entries().some(({ value }) => value.name === name))
        throw new Fault("conflict", `there is a token ${name} already: revoke it first, or take another name`);
      const token = `fat_${newSecret()}`;
      const at = now();
      const record: TokenRecord = {
        id: newId("token", at.getTime()),
        name,
        permissions,
        createdAt: at.toISOString(),
        createdBy: principal.name,
        ...(ttlMs === undefined ? {} : { expiresAt: new Date(at.getTime() + ttlMs).toISOString() }),
      };
      const key = keys.token(sha256Hex(token));
      const until = record.expiresAt === undefined ? "until it is revoked" : `until ${record.expiresAt}`;
      const message = `token ${name} was made: ${permissions.join(", ")}, good ${until}`;
      const event = { type: "token.made", subject: record.id, actor: principal.name, message };
      const { replayed } = await store.commit({
        actor: principal.name,
        ...idempotent,
        expect: [{ key, version: 0 }],
        mutations: [{ key, value: record }, ...eventChanges(store, at, event)],
      });
      // Only its hash is kept, so it cannot be told a second time.
      if (replayed)
        throw new Fault(
          "conflict",
          "this token was made and shown before; revoke it, and ask with another Idempotency-Key",
        );
      return { ...shown(record), token };
    },
    async revoke(idOrName, principal) {
      const { key, value, version } = entryOf(idOrName);
      mayGive(principal, value.permissions as Scope[]);
      const others = entries().filter((entry) => entry.key !== key);
      if (isAll(value) && !others.some((entry) => isAll(entry.value) && entry.value.expiresAt === undefined))
        throw new Fault(
          "precondition",
          `token ${value.name} is the last that may do everything and never expires: make another first, \`flynn token create NAME --permissions '*'\``,
        );
      const message = `token ${value.name} was revoked`;
      const event = { type: "token.revoked", subject: value.id, actor: principal.name, message };
      await store.commit({
        actor: principal.name,
        expect: [{ key, version }],
        mutations: [{ key, value: null }, ...eventChanges(store, now(), event)],
      });
    },
    async keepUses() {
      const stale = entries().flatMap(({ key, value, version }) => {
        const used = presence.tokensUsed.get(value.id);
        if (used === undefined || !isNewer(used, value.lastUsedAt)) return [];
        return [{ key, version, value: { ...value, lastUsedAt: used } }];
      });
      if (stale.length === 0) return;
      await store.commit({
        actor: "control",
        expect: stale.map(({ key, version }) => ({ key, version })),
        mutations: stale.map(({ key, value }) => ({ key, value })),
      });
    },
    async run(signal) {
      for await (const _ of every(KEEP_EVERY_MS, signal)) await tokens.keepUses();
    },
  };
  return tokens;
}

const isAll = ({ permissions }: TokenRecord): boolean => (permissions as string[]).includes("*");

const isNewer = (used: string, known: string | undefined): boolean =>
  known === undefined || Date.parse(used) - Date.parse(known) >= USE_KNOWN_WITHIN_MS;

/** Nobody makes, or takes away, what may do more than he may himself. */
function mayGive(principal: Principal, permissions: readonly Scope[]): void {
  const own = principal.kind === "token" ? principal.permissions : [];
  const missing = own.includes("*") ? [] : permissions.filter((each) => !own.includes(each));
  if (missing.length > 0)
    throw new Fault(
      "forbidden",
      `${principal.name} has no permission ${missing.join(", ")}, and can neither give nor take it`,
    );
}

/** Tokens of this store that are over. */
export const expiredTokens = (store: Store, beforeMs: number): string[] =>
  store
    .list<TokenRecord>(PREFIX.tokens)
    .filter(({ value }) => value.expiresAt !== undefined && Date.parse(value.expiresAt) < beforeMs)
    .map(({ key }) => key);

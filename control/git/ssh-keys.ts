// The SSH keys people added, in the store by the digest of the key: one key is there once. What sshd is told about one of them.
import { createHash } from "node:crypto";
import { Fault } from "#api/fault.ts";
import type { SshKey } from "#api/keys.ts";
import { newId } from "#lib/ids.ts";
import { eventChanges } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import type { SshKeyRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Store } from "../store/store.ts";
import { parsePublicKey } from "./public-key.ts";

const KEYS_MOST = 1_000;

export interface SshKeys {
  list(): Entry<SshKeyRecord>[];
  get(id: string): SshKeyRecord | undefined;
  /** Fault `invalid`, `conflict` (the key or its name is there already) or `too-large`. */
  add(requested: { publicKey: string; name?: string; by: string; idempotent?: object }): Promise<SshKeyRecord>;
  /** By id or name; Fault `not-found`. */
  called(idOrName: string): SshKeyRecord;
  remove(idOrName: string, by: string): Promise<void>;
  /** By SHA256:..., as sshd asks. */
  find(fingerprint: string): SshKeyRecord | undefined;
}

export function sshKeys(store: Store, now: () => Date): SshKeys {
  const list = () => store.list<SshKeyRecord>(PREFIX.sshKeys);
  const entryOf = (idOrName: string): Entry<SshKeyRecord> => {
    const entry =
      list().find(({ value }) => value.id === idOrName) ?? list().find(({ value }) => value.name === idOrName);
    if (entry === undefined) throw new Fault("not-found", `no key ${idOrName}`);
    return entry;
  };
  return {
    list,
    called: (idOrName) => entryOf(idOrName).value,
    get: (id) => list().find(({ value }) => value.id === id)?.value,
    async add({ publicKey, name, by, idempotent }) {
      const { type, blob, fingerprint, comment } = parsePublicKey(publicKey);
      const key = storeKey(fingerprint);
      const there = store.get<SshKeyRecord>(key)?.value;
      if (there) throw new Fault("conflict", `this key is there already, as ${there.name}`);
      const known = list();
      if (known.length >= KEYS_MOST)
        throw new Fault("too-large", `there are ${KEYS_MOST} keys already; remove one first`);
      const taken = new Set(known.flatMap(({ value }) => [value.name, value.id]));
      if (name !== undefined && taken.has(name)) throw new Fault("conflict", `a key is named ${name} already`);
      const value: SshKeyRecord = {
        id: newId("key"),
        name: name ?? freeName(nameOf(comment), taken),
        type,
        fingerprint,
        blob,
        createdBy: by,
        createdAt: now().toISOString(),
      };
      const event = {
        type: "key.added",
        subject: value.id,
        actor: by,
        message: `ssh key ${value.name} (${fingerprint}) was added`,
      };
      const committed = await store.commit({
        actor: by,
        ...idempotent,
        expect: [{ key, version: 0 }],
        mutations: [{ key, value }, ...eventChanges(store, now(), event)],
        result: value,
      });
      return committed.result;
    },
    async remove(idOrName, by) {
      const entry = entryOf(idOrName);
      const { id, name, fingerprint } = entry.value;
      const event = {
        type: "key.removed",
        subject: id,
        actor: by,
        message: `ssh key ${name} (${fingerprint}) was removed`,
      };
      await store.commit({
        actor: by,
        expect: [{ key: entry.key, version: entry.version }],
        mutations: [{ key: entry.key, value: null }, ...eventChanges(store, now(), event)],
      });
    },
    find: (fingerprint) => store.get<SshKeyRecord>(storeKey(fingerprint))?.value,
  };
}

const storeKey = (fingerprint: string): string => keys.sshKey(createHash("sha256").update(fingerprint).digest("hex"));

export const shown = ({ blob: _, ...key }: SshKeyRecord): SshKey => key;

/** `me@laptop` of the comment, or `key`. */
const nameOf = (comment: string): string =>
  comment
    .replace(/[^A-Za-z0-9._@-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, 60) || "key";

function freeName(wanted: string, taken: ReadonlySet<string>): string {
  for (let n = 1; ; n++) {
    const name = n === 1 ? wanted : `${wanted}-${n}`;
    if (!taken.has(name)) return name;
  }
}

/**
 * What sshd is told of a key: everything off, and one program whatever is asked (sshd(8), `restrict`, `command`). The words of
 * `relay` are put between quotes of a POSIX shell, since sshd runs a forced command by one.
 */
export function authorizedKeysLine(key: SshKeyRecord, relay: readonly string[]): string {
  const command = [...relay, "ssh", key.id].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
  return `restrict,command="${command.replaceAll('"', '\\"')}" ${key.type} ${key.blob}\n`;
}

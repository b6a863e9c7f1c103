// Join tokens for programs on control's own machine: fresh at every start, in files only this user can read. Whoever can read
// them could read the CA key as well.
import { join } from "node:path";
import { writeFileAtomic } from "#lib/files.ts";
import { newSecret } from "#lib/ids.ts";
import type { ControlConfig } from "../config.ts";
import { keys } from "../keys.ts";
import type { JoinTokenRecord } from "../records.ts";
import type { Change, Store } from "../store/store.ts";
import { sha256Hex } from "./principal.ts";

const TTL_MS = 86_400_000;

export async function writeLocalJoinTokens(
  store: Store,
  { stateDir, localJoin }: ControlConfig,
  now: Date,
): Promise<void> {
  const expiresAt = new Date(now.getTime() + TTL_MS).toISOString();
  const mutations: Change[] = [];
  for (const role of localJoin) {
    const token = `fjt_${newSecret()}`;
    const record: JoinTokenRecord = { role, expiresAt };
    mutations.push({ key: keys.joinToken(sha256Hex(token)), value: record });
    await writeFileAtomic(join(stateDir, "local-join", role), token, { mode: 0o600 });
  }
  if (mutations.length > 0) await store.commit({ actor: "control", mutations });
}

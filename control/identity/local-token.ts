// Admin tokens that are asked for in control's own state directory (api/local-token.ts): for who has lost the one shown at the first
// start, or has restored a state that does not know it.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { LOCAL_TOKEN_FILE, type LocalToken } from "#api/local-token.ts";
import { readText } from "#lib/files.ts";
import { newId } from "#lib/ids.ts";
import type { Log } from "#lib/log.ts";
import { every } from "#lib/time.ts";
import { eventChanges } from "../events.ts";
import { keys } from "../keys.ts";
import type { TokenRecord } from "../records.ts";
import type { Store } from "../store/store.ts";

const EVERY_MS = 500;

export interface LocalTokenOptions {
  store: Store;
  stateDir: string;
  now: () => Date;
  log: Log;
  signal: AbortSignal;
}

/** Looks for a request again and again: one that could not be taken up stays, and is told of once. */
export async function takeLocalTokens({ store, stateDir, now, log, signal }: LocalTokenOptions): Promise<void> {
  const path = join(stateDir, LOCAL_TOKEN_FILE);
  let failing = false;
  for await (const _ of every(EVERY_MS, signal)) {
    try {
      const text = await readText(path);
      if (text !== undefined) {
        const sha256 = requested(text);
        if (sha256 === undefined) log.error({ path }, "no request for a token, it is removed");
        else await make(store, sha256, now());
        await rm(path, { force: true });
      }
      failing = false;
    } catch (error) {
      if (!failing) log.error({ err: error, path }, "token asked for on this machine not made, it is tried again");
      failing = true;
    }
  }
}

function requested(text: string): string | undefined {
  try {
    const { sha256 } = JSON.parse(text) as Partial<LocalToken>;
    return typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256) ? sha256 : undefined;
  } catch {
    return undefined;
  }
}

async function make(store: Store, sha256: string, at: Date): Promise<void> {
  const key = keys.token(sha256);
  if (store.get(key) !== undefined) return; // made, and a crash came before the file was gone
  const value: TokenRecord = {
    id: newId("token", at.getTime()),
    name: "admin",
    permissions: ["*"],
    createdAt: at.toISOString(),
  };
  const message = "an admin token was made on the appliance's own machine (flynn cluster token)";
  const event = { type: "token.made", subject: value.id, message, actor: "control" };
  await store.commit({
    actor: "control",
    expect: [{ key, version: 0 }],
    mutations: [{ key, value }, ...eventChanges(store, at, event)],
  });
}

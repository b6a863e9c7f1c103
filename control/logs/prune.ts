// Lines of apps that are gone go an hour later.
import type { App } from "#api/apps.ts";
import { every, unhurriedNow } from "#lib/time.ts";
import type { Context } from "../context.ts";
import { PREFIX } from "../keys.ts";

const EVERY_MS = 600_000;
const KEPT_MS = 3_600_000;

export async function pruneOwnLog(
  { store, ownLog }: Pick<Context, "store" | "ownLog">,
  signal: AbortSignal,
): Promise<void> {
  for await (const _ of every(EVERY_MS, signal)) {
    const ids = store.list<App>(PREFIX.apps).map(({ value }) => value.id);
    await ownLog.prune(new Set(ids), unhurriedNow() - KEPT_MS);
  }
}

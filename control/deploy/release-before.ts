// The release to go back to: the one that ran before the current one, which the last complete deployment replaced.
import type { App } from "#api/apps.ts";
import { releasesOf } from "../apps/find.ts";
import type { ReleaseRecord } from "../records.ts";
import type { Store } from "../store/store.ts";
import { deploymentsOf, isLive } from "./record.ts";

export function releaseBefore(
  store: Store,
  { id, releaseId }: Pick<App, "id" | "releaseId">,
): ReleaseRecord | undefined {
  const last = deploymentsOf(store, id).findLast(
    (one) => (one.state === "complete" || isLive(one)) && one.toReleaseId === releaseId,
  );
  return releasesOf(store, id).find((release) => release.id === last?.fromReleaseId);
}

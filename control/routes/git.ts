// An app's repository as the API shows it, and building its branch again.
import * as api from "#api/git.ts";
import { findApp } from "../apps/find.ts";
import { findBuild, shownBuild } from "../builds/record.ts";
import type { Git } from "../git/git.ts";
import type { Mount } from "../mount.ts";
import type { Store } from "../store/store.ts";

export function mountGit(mount: Mount, store: Store, git: Git): void {
  mount(api.getGit, ({ params }) => git.describe(findApp(store, params.app).value));
  mount(api.redeploy, async ({ params, principal, signal, idempotent, earlier }) => {
    const { value: app } = findApp(store, params.app);
    const made = await earlier<string>();
    const requested = { by: principal.name, signal, idempotent: () => idempotent };
    return made === undefined ? git.redeploy(app, requested) : shownBuild(findBuild(store, app.id, made).value);
  });
}

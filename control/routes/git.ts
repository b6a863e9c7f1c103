// An app's repository as the API shows it, and building its branch again.
import * as api from "#api/git.ts";
import { findApp } from "../apps/find.ts";
import type { Git } from "../git/git.ts";
import type { Mount } from "../mount.ts";
import type { Store } from "../store/store.ts";

export function mountGit(mount: Mount, store: Store, git: Git): void {
  mount(api.getGit, ({ params }) => git.describe(findApp(store, params.app).value));
  mount(api.redeploy, async ({ params, principal, signal, location }) => {
    const build = await git.redeploy(findApp(store, params.app).value, principal.name, signal);
    location(`/v1/apps/${build.appId}/builds/${build.id}`);
    return build;
  });
}

// Deployments and rollback.
import type { App } from "#api/apps.ts";
import * as deployments from "#api/deployments.ts";
import { hasEnded } from "#api/deployments.ts";
import { Fault } from "#api/fault.ts";
import { findApp, findRelease } from "../apps/find.ts";
import type { Context } from "../context.ts";
import type { Deployments } from "../deploy/deployments.ts";
import { formationsBeside } from "../deploy/formations.ts";
import { type DeploymentRecord, deploymentsOf, isLive, shownDeployment } from "../deploy/record.ts";
import { releaseBefore } from "../deploy/release-before.ts";
import { stagingOf } from "../deploy/staging.ts";
import { stateFeed } from "../feed.ts";
import { keys, padded } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { page } from "../paging.ts";
import type { ReleaseRecord } from "../records.ts";
import type { Store } from "../store/store.ts";

export function mountDeployments(mount: Mount, { store }: Context, deployer: Deployments): void {
  const find = (app: App, id: string): DeploymentRecord => {
    const found = deployer.get(app.id, id)?.value;
    if (found === undefined) throw new Fault("not-found", `no deployment ${id} of app ${app.name}`);
    return found;
  };
  const shown = (record: DeploymentRecord) => shownDeployment(record, deployer.running(record.appId));
  mount(deployments.listDeployments, ({ params, query }) => {
    const { value: app } = findApp(store, params.app);
    const newestFirst = deploymentsOf(store, app.id)
      .map((value) => ({ key: `${padded(value.order ?? 0)} ${value.createdAt} ${value.id}`, value }))
      .sort((a, b) => (a.key < b.key ? 1 : -1));
    return page(newestFirst, query, ({ value }) => shown(value), { falling: true });
  });
  mount(deployments.createDeployment, async ({ params, body, principal, idempotent, earlier }) => {
    const { value: app } = findApp(store, params.app);
    const made = await earlier<string>();
    if (made !== undefined) return find(app, made);
    return deployer.create(app, findRelease(store, app.id, body.release), {
      by: principal.name,
      strategy: body.strategy ?? app.strategy,
      ...stagingOf(body),
      idempotent,
    });
  });
  mount(
    deployments.getDeployment,
    ({ params }) => shown(find(findApp(store, params.app).value, params.id)),
    ({ params, signal }) => {
      const { value: app } = findApp(store, params.app);
      find(app, params.id);
      return stateFeed<deployments.Deployment>({
        subscribe: (wake) =>
          store.onDurable((record) => {
            // Of the others too: what one that waits is waiting for.
            if (record.mutations.some(({ key }) => key.startsWith(keys.deploymentsOf(app.id)))) wake();
          }),
        build: () => shown(find(app, params.id)),
        id: () => String(store.durableSeq),
        last: hasEnded,
        signal,
      });
    },
  );
  mount(deployments.cancelDeployment, ({ params, principal }) =>
    deployer.cancel(findApp(store, params.app).value, params.id, principal.name),
  );
  mount(deployments.pauseDeployment, async ({ params, principal }) => {
    const { value: app } = findApp(store, params.app);
    await deployer.pause(app, params.id, principal.name);
    return shown(find(app, params.id));
  });
  mount(deployments.resumeDeployment, async ({ params, body, principal }) => {
    const { value: app } = findApp(store, params.app);
    await deployer.resume(app, params.id, { by: principal.name, pauseAfter: body.pauseAfter });
    return shown(find(app, params.id));
  });
  mount(deployments.rollbackApp, async ({ params, body, principal, idempotent, earlier }) => {
    const { value: app } = findApp(store, params.app);
    const made = await earlier<string>();
    if (made !== undefined) return find(app, made);
    const running = deployer.running(app.id);
    if (body.release === undefined && running !== undefined && running.goingBack === undefined && !isLive(running))
      throw new Fault(
        "conflict",
        `v${running.toVersion} of ${app.name} is on its way and not there yet; call it off: flynn -a ${app.name} deployment cancel; or name the release to come after it: flynn -a ${app.name} rollback vN`,
      );
    const release = body.release === undefined ? previous(store, app) : findRelease(store, app.id, body.release);
    // What a deployment that could not go back left serving goes with this one.
    const nothingElse =
      deployer.running(app.id) !== undefined || formationsBeside(store, app.id, release.id).length === 0;
    if (release.id === app.releaseId && nothingElse)
      throw new Fault("conflict", `v${release.version} is what runs now`);
    return deployer.create(app, release, { by: principal.name, idempotent });
  });
}

function previous(store: Store, app: App): ReleaseRecord {
  const found = releaseBefore(store, app);
  if (found === undefined)
    throw new Fault("conflict", `app ${app.name} has no earlier release to go back to; name one: flynn rollback vN`);
  return found;
}

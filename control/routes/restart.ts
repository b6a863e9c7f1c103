// Restart of an app, a process or a job: see apps/restart.ts.
import type { App } from "#api/apps.ts";
import type { Reply } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";
import { type Job, restartApp } from "#api/jobs.ts";
import { currentRelease, findApp, liveJobs } from "../apps/find.ts";
import { nextRelease, releaseEvent } from "../apps/release.ts";
import { restartOf } from "../apps/restart.ts";
import type { Context } from "../context.ts";
import type { Deployments } from "../deploy/deployments.ts";
import { eventChanges } from "../events.ts";
import { keys } from "../keys.ts";
import type { Mount } from "../mount.ts";
import type { Change } from "../store/store.ts";

export function mountRestart(mount: Mount, context: Context, { deployments }: { deployments: Deployments }): void {
  const { store, now } = context;
  mount(restartApp, async ({ params, body, principal, idempotent, earlier }) => {
    await deployments.settled(findApp(store, params.app).value.id);
    const { value: app } = findApp(store, params.app);
    const made = await earlier<Reply<typeof restartApp>>();
    if (made !== undefined) return made;
    const current = currentRelease(store, app);
    if (current?.artifactId === undefined)
      throw new Fault("conflict", `app ${app.name} has nothing deployed yet: git push flynn main, or flynn deploy`);
    const restart = restartOf(app.name, current, liveJobs(store, app.id), body);
    const { changes, expect, reply } =
      restart.type === "stop" ? stopped(app, restart.jobs, principal.name) : deployed(app, principal.name);
    const running = deployments.running(app.id);
    if (restart.type !== "stop" && running !== undefined)
      throw new Fault(
        "conflict",
        `v${running.toVersion} of ${app.name} is ${running.pausedAt === undefined ? "being deployed" : "paused on its way"}: its jobs are new anyway; restart a single one with: flynn -a ${app.name} restart web.1`,
        { retry: true },
      );
    const { result } = await store.commit({
      actor: principal.name,
      ...idempotent,
      expect,
      mutations: changes,
      result: reply,
    });
    return result;
  });

  const deployed = (app: App, by: string) => {
    const before = deployments.headed(app);
    const release = nextRelease(context, app, before, { description: "restart" }, { by, at: now() });
    const { deployment, changes, expect, event } = deployments.draft(app, release, { by });
    return {
      changes: [
        { key: keys.release(app.id, release.id), value: release },
        ...changes,
        ...eventChanges(store, now(), releaseEvent(app, release), event),
      ],
      expect,
      reply: { jobs: [], version: release.version, deploymentId: deployment.id },
    };
  };

  const stopped = (app: App, jobs: readonly Job[], by: string) => {
    const entries = jobs.flatMap(({ id }) => store.get<Job>(keys.job(app.id, id)) ?? []);
    const draining = entries.map(
      ({ key, value }): Change => ({
        key,
        value: {
          ...value,
          desired: "drain",
          drainingSince: now().toISOString(),
          reason: `restarted by ${by}`,
        } satisfies Job,
      }),
    );
    const events = entries.map(({ value: { id } }) => ({
      type: "job.killed",
      subject: id,
      app: app.name,
      actor: by,
      message: `job ${id} is restarted`,
    }));
    return {
      changes: [...draining, ...eventChanges(store, now(), ...events)],
      expect: entries.map(({ key, version }) => ({ key, version })),
      reply: { jobs: entries.map(({ value }) => value.id) },
    };
  };
}

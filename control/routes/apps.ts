// Apps, releases, environment and formation: thin routes over the rules in apps/ and deploy/.
import * as apps from "#api/apps.ts";
import type { Artifact } from "#api/artifacts.ts";
import type { Reply } from "#api/endpoint.ts";
import { Fault, isFault } from "#api/fault.ts";
import { newId } from "#lib/ids.ts";
import { deletionOf } from "../apps/delete.ts";
import { openEnv } from "../apps/env-at-rest.ts";
import { currentRelease, findApp, findRelease, formationOf, releasesOf } from "../apps/find.ts";
import { nextRelease, releaseEvent, summary } from "../apps/release.ts";
import { checkContent, contentVersion } from "../content-version.ts";
import type { Context } from "../context.ts";
import type { Deployments } from "../deploy/deployments.ts";
import { unkept } from "../deploy/formations.ts";
import { isPaused } from "../deploy/record.ts";
import { RELEASE_PROCESS } from "../deploy/release-phase.ts";
import { earlierCount, scaledWhilePaused, stagingOf } from "../deploy/staging.ts";
import { eventChanges } from "../events.ts";
import { keys, PREFIX, padded } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { appName, checkAppName } from "../names.ts";
import { page } from "../paging.ts";
import type { ReleaseRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import { collectableReleases } from "../surplus.ts";
import { routeChanges } from "./routes.ts";

export interface AppParts {
  deployments: Deployments;
}

const DEFAULT_DEPLOY_TIMEOUT_MS = 120_000;

/** The route a new app has under the cluster's domain; none when there is no such domain, or somebody routed the name before. */
function firstRoute({ store, config, now }: Context, app: apps.App): ReturnType<typeof routeChanges> {
  const none = { mutations: [], expect: [] };
  if (config.appDomain === "") return none;
  const domain = `${app.name}.${config.appDomain}`;
  const createdAt = now().toISOString();
  const owner = { appId: app.id, app: app.name, process: "web", createdAt };
  try {
    return routeChanges(store, { id: newId("route"), type: "http", domain, path: "/", ...owner });
  } catch (error) {
    if (isFault(error, "conflict")) return none;
    throw error;
  }
}

export function mountApps(mount: Mount, context: Context, { deployments }: AppParts): void {
  const { store, now } = context;

  mount(apps.listApps, ({ query }) =>
    page(
      store.list<apps.App>(PREFIX.apps).filter(({ value }) => !value.deleting),
      query,
      ({ value }) => value,
    ),
  );
  mount(apps.createApp, async ({ body, principal, idempotent }) => {
    const name = body.name ?? appName();
    checkAppName(name);
    const app: apps.App = {
      id: newId("app"),
      name,
      strategy: "rolling",
      deployTimeoutMs: DEFAULT_DEPLOY_TIMEOUT_MS,
      createdAt: now().toISOString(),
    };
    const route = firstRoute(context, app);
    const committed = await store
      .commit({
        actor: principal.name,
        ...idempotent,
        expect: [{ key: keys.appName(name), version: 0 }, ...route.expect],
        mutations: [
          ...route.mutations,
          { key: keys.app(app.id), value: app },
          { key: keys.appName(name), value: app.id },
          ...eventChanges(store, now(), {
            type: "app.created",
            subject: app.id,
            app: name,
            actor: principal.name,
            message: `app ${name} was created`,
          }),
        ],
        result: app,
      })
      .catch((error: unknown) => {
        throw error instanceof Fault && error.details?.["key"] === keys.appName(name)
          ? new Fault("conflict", `an app is named ${name} already`)
          : error;
      });
    return committed.result;
  });
  mount(apps.getApp, ({ params, etag }) => {
    const entry = findApp(store, params.app);
    etag(entry.version);
    return entry.value;
  });
  mount(apps.updateApp, async ({ params, body, principal, ifMatch, etag }) => {
    const { key, value, version } = findApp(store, params.app);
    const { deployBranch, build, batchSize, ...rest } = { ...value, ...body };
    const app: apps.App = {
      ...rest,
      ...(batchSize ? { batchSize } : {}),
      ...(deployBranch ? { deployBranch } : {}),
      ...(build ? { build } : {}),
    };
    const { seq } = await store.commit({
      actor: principal.name,
      expect: [{ key, version: ifMatch ?? version }],
      mutations: [{ key, value: app }],
    });
    etag(seq);
    return app;
  });
  mount(apps.deleteApp, async ({ params, principal, ifMatch }) => {
    const { key, value: app, version } = findApp(store, params.app);
    await store.commit({
      actor: principal.name,
      expect: [{ key, version: ifMatch ?? version }],
      mutations: deletionOf(store, app, now(), principal.name),
    });
    return {};
  });

  const collectableOf = (app: apps.App): Set<string> =>
    new Set(collectableReleases(store, app).map(({ value }) => value.id));
  const shownRelease = (release: ReleaseRecord, app: apps.App, collectable: ReadonlySet<string>) => ({
    ...summary(release, app.releaseId),
    ...(collectable.has(release.id) ? { collectable: true } : {}),
  });
  mount(apps.listReleases, ({ params, query }) => {
    const { value: app } = findApp(store, params.app);
    const newestFirst = releasesOf(store, app.id)
      .reverse()
      .map((value) => ({ key: padded(value.version), value }));
    const collectable = collectableOf(app);
    return page(newestFirst, query, ({ value }) => shownRelease(value, app, collectable), { falling: true });
  });
  mount(apps.getRelease, ({ params }) => {
    const { value: app } = findApp(store, params.app);
    return shownRelease(findRelease(store, app.id, params.id), app, collectableOf(app));
  });
  mount(apps.createRelease, async ({ params, body, principal, idempotent, earlier }) => {
    const { value: app } = findApp(store, params.app);
    const shown = (outcome: string): Reply<typeof apps.createRelease> => {
      const [releaseId = "", deploymentId] = outcome.split(" ");
      const release = summary(findRelease(store, app.id, releaseId), findApp(store, app.id).value.releaseId);
      return deploymentId === undefined ? release : { ...release, deploymentId };
    };
    const made = await earlier<string>();
    if (made !== undefined) return shown(made);
    if (body.artifactId !== undefined && store.get<Artifact>(keys.artifact(body.artifactId))?.value.appId !== app.id)
      throw new Fault("not-found", `no artifact ${body.artifactId} of app ${app.name}`);
    const { basedOn, deploy = false, pauseAfter, canaryPercent, ...requested } = body;
    const staging = stagingOf({ pauseAfter, canaryPercent });
    if (!deploy && pauseAfter !== undefined)
      throw new Fault("invalid", 'pauseAfter is of a deployment: send {"deploy": true} with it', {
        details: { field: "pauseAfter" },
      });
    const before = deployments.headed(app);
    if (basedOn !== undefined && basedOn !== before?.id)
      throw new Fault(
        "precondition",
        `${app.name} is headed for ${before ? `v${before.version}` : "no release"} by now`,
      );
    const release = nextRelease(context, app, before, requested, { by: principal.name, at: now() });
    const draft = deploy ? deployments.draft(app, release, { by: principal.name, ...staging }) : undefined;
    const { result } = await store.commit({
      actor: principal.name,
      ...idempotent,
      expect: draft?.expect ?? [],
      mutations: [
        { key: keys.release(app.id, release.id), value: release },
        ...(draft?.changes ?? []),
        ...eventChanges(store, now(), releaseEvent(app, release), ...(draft ? [draft.event] : [])),
      ],
      result: draft ? `${release.id} ${draft.deployment.id}` : release.id,
    });
    return shown(result);
  });
  const envOf = (release: ReleaseRecord | undefined): Record<string, string> =>
    release === undefined ? {} : { ...openEnv(context.secrets, release) };
  const envVersion = (env: Record<string, string>) => contentVersion(context.secrets, Object.entries(env).sort());
  /** What a release is made from: where the app is headed, not where it is, so that two changes in a row both count. */
  const basis = (app: apps.App) => deployments.headed(app) ?? releasesOf(store, app.id).at(-1);
  mount(apps.getEnv, ({ params, etag }) => {
    const { value: app } = findApp(store, params.app);
    const env = envOf(basis(app));
    etag(envVersion(env));
    return { env };
  });
  mount(apps.updateEnv, async ({ params, body, principal, ifMatch, etag }) => {
    const app = findApp(store, params.app);
    const before = basis(app.value);
    checkContent(`the environment of ${app.value.name}`, envVersion(envOf(before)), ifMatch);
    const release = nextRelease(context, app.value, before, { env: body.env }, { by: principal.name, at: now() });
    const shown = (each: ReleaseRecord) => summary(each, findApp(store, app.value.id).value.releaseId);
    if (before !== undefined && envVersion(envOf(before)) === envVersion(envOf(release))) {
      etag(envVersion(envOf(before)));
      return { release: shown(before), unchanged: true };
    }
    const draft = deployments.draft(app, release, { by: principal.name });
    const { deployment, expect } = draft;
    // Without an image nothing is deployed: the variables wait for the first one.
    const bare = release.artifactId === undefined;
    const changes = draft.changes.filter(({ key }) => !bare || key !== keys.deployment(app.value.id, deployment.id));
    await store.commit({
      actor: principal.name,
      expect,
      mutations: [
        { key: keys.release(app.value.id, release.id), value: release },
        ...changes,
        ...eventChanges(store, now(), releaseEvent(app.value, release), ...(bare ? [] : [draft.event])),
      ],
    });
    etag(envVersion(envOf(release)));
    return { release: shown(release), ...(bare ? {} : { deploymentId: deployment.id }) };
  });

  const formation = (app: apps.App): Entry<apps.Formation> => {
    const entry = app.releaseId === undefined ? undefined : formationOf(store, app.id, app.releaseId);
    if (entry === undefined)
      throw new Fault("conflict", `app ${app.name} has nothing deployed yet: git push flynn main, or flynn deploy`);
    return entry;
  };
  mount(apps.getFormation, ({ params, etag }) => {
    const entry = formation(findApp(store, params.app).value);
    etag(entry.version);
    return unkept(entry.value);
  });
  mount(apps.updateFormation, async ({ params, body, principal, ifMatch, etag }) => {
    await deployments.settled(findApp(store, params.app).value.id);
    const { value: app } = findApp(store, params.app);
    const running = deployments.running(app.id);
    const staged = running !== undefined && isPaused(running) ? deployments.get(app.id, running.id) : undefined;
    if (running !== undefined && staged === undefined)
      throw new Fault("conflict", `app ${app.name} is being deployed; scale it when that has ended`, { retry: true });
    const { key, value, version } = formation(app);
    const { processes } = currentRelease(store, app)!;
    const scaled = Object.keys(processes).filter((name) => name !== RELEASE_PROCESS);
    if (Object.hasOwn(body, RELEASE_PROCESS) && Object.hasOwn(processes, RELEASE_PROCESS))
      throw new Fault("invalid", "release is the release phase: it runs once with each deployment and is not scaled", {
        details: { field: RELEASE_PROCESS },
      });
    const unknown = Object.keys(body).find((name) => !scaled.includes(name));
    if (unknown !== undefined)
      throw new Fault("invalid", `app ${app.name} has no process ${unknown}; it has ${scaled.join(", ")}`, {
        details: { field: unknown },
      });
    const next: apps.Formation = {
      ...unkept(value),
      processes: {
        ...value.processes,
        ...Object.fromEntries(
          Object.entries(body).map(([name, { count, tags }]) => [
            name,
            {
              // While a deployment is paused the earlier release has all but those that the new one took over.
              count: staged === undefined ? count : earlierCount(staged.value, value, { process: name, count }),
              tags: tags ?? value.processes[name]?.tags ?? {},
            },
          ]),
        ),
      },
    };
    const message = Object.entries(body)
      .map(([name, { count }]) => `${name}: ${value.processes[name]?.count ?? 0} => ${count}`)
      .join(", ");
    const { seq } = await store.commit({
      actor: principal.name,
      expect: [
        { key, version: ifMatch ?? version },
        ...(staged === undefined ? [] : [{ key: staged.key, version: staged.version }]),
      ],
      mutations: [
        { key, value: next },
        ...(staged === undefined ? [] : [{ key: staged.key, value: scaledWhilePaused(staged.value, next, body) }]),
        ...eventChanges(store, now(), {
          type: "app.scaled",
          subject: app.id,
          app: app.name,
          actor: principal.name,
          message: `scaled ${app.name}: ${message}`,
        }),
      ],
    });
    etag(seq);
    return next;
  });
}

// The registry of what listens, and the one call that makes a service from an image: app, release, formation, deployment and
// route, with the same rules as when they are made one by one.
import type { App, Formation, Release } from "#api/apps.ts";
import type { Artifact } from "#api/artifacts.ts";
import { Fault } from "#api/fault.ts";
import type { Route } from "#api/routes.ts";
import * as services from "#api/services.ts";
import { newId } from "#lib/ids.ts";
import { deletionOf } from "../apps/delete.ts";
import { currentRelease, findApp, formationOf, liveJobs, releasesOf } from "../apps/find.ts";
import { makeRelease, type ReleaseWish } from "../apps/release.ts";
import type { Context } from "../context.ts";
import type { Deployments } from "../deploy/deployments.ts";
import { eventChanges } from "../events.ts";
import { stateFeed } from "../feed.ts";
import { keys, PREFIX } from "../keys.ts";
import type { LocalDocker } from "../local-docker.ts";
import type { Logs } from "../logs.ts";
import type { Mount } from "../mount.ts";
import type { StoreImage } from "./artifacts.ts";
import { routeChanges } from "./routes.ts";

export interface ServiceParts {
  deployments: Deployments;
  logs: Logs;
  image: StoreImage;
  docker: LocalDocker;
}

const DEPLOY_TIMEOUT_MS = 120_000;

export function mountServices(
  mount: Mount,
  context: Context,
  { deployments, logs, image, docker }: ServiceParts,
): void {
  const { store, now } = context;

  const shown = (app: App, process: string): services.Service => {
    const pending = deployments.running(app.id);
    const release =
      currentRelease(store, app) ?? (pending && store.get<Release>(keys.release(app.id, pending.toReleaseId))?.value);
    const artifact = release?.artifactId ? store.get<Artifact>(keys.artifact(release.artifactId))?.value : undefined;
    const count =
      pending?.processes[process]?.wanted ??
      (app.releaseId ? formationOf(store, app.id, app.releaseId)?.value.processes[process]?.count : undefined) ??
      0;
    const port = release?.processes[process]?.port;
    return {
      name: process === "web" ? app.name : `${app.name}-${process}`,
      app: app.name,
      process,
      image: artifact ? `${artifact.source}@${artifact.digest}` : "",
      version: release?.version ?? 0,
      count,
      ...(port ? { port } : {}),
      domains: store
        .list<Route>(PREFIX.routes)
        .filter(({ value }) => value.appId === app.id && value.process === process)
        .map(({ value }) => value.domain),
      instances: liveJobs(store, app.id)
        .filter((job) => job.process === process)
        .map((job) => ({
          jobId: job.id,
          hostId: job.hostId,
          address: job.address,
          port: job.port,
          state: job.state,
          healthy: job.state === "up" && job.desired === "run",
        })),
      ...(pending ? { deploymentId: pending.id } : {}),
    };
  };
  const everyService = (): services.Service[] =>
    store
      .list<App>(PREFIX.apps)
      .filter(({ value }) => !value.deleting)
      .flatMap(({ value: app }) => {
        const release = currentRelease(store, app);
        return Object.entries(release?.processes ?? {})
          .filter(([, { port }]) => port !== null)
          .map(([process]) => shown(app, process));
      });
  const find = (name: string): { app: App; process: string } => {
    const app = store.get<string>(keys.appName(name));
    if (app !== undefined) return { app: findApp(store, app.value).value, process: "web" };
    const service = everyService().find((candidate) => candidate.name === name);
    if (service === undefined) throw new Fault("not-found", `no service ${name}`);
    return { app: findApp(store, service.app).value, process: service.process };
  };
  const artifactFor = async (
    app: App,
    wish: { artifactId?: string; image?: string },
    by: string,
    signal: AbortSignal,
  ): Promise<string> => {
    if (wish.artifactId !== undefined) {
      if (store.get<Artifact>(keys.artifact(wish.artifactId))?.value.appId !== app.id)
        throw new Fault("not-found", `no artifact ${wish.artifactId} of ${app.name}`);
      return wish.artifactId;
    }
    const archive = await docker.save(wish.image!, signal);
    return (await image({ app: app.id, archive, source: wish.image!, by, signal })).id;
  };
  const release = async (app: App, wish: ReleaseWish, by: string): Promise<Release> => {
    const newest = releasesOf(store, app.id).at(-1);
    const made = makeRelease(currentRelease(store, app), wish, {
      appId: app.id,
      version: (newest?.version ?? 0) + 1,
      by,
      at: now().toISOString(),
    });
    await store.commit({ actor: by, mutations: [{ key: keys.release(app.id, made.id), value: made }] });
    return made;
  };

  mount(services.listServices, () => ({ items: everyService() }));
  mount(
    services.getService,
    ({ params }) => {
      const { app, process } = find(params.name);
      return shown(app, process);
    },
    ({ params, signal }) => {
      find(params.name);
      return stateFeed({
        subscribe: (wake) => store.onDurable(wake),
        build: () => {
          const { app, process } = find(params.name);
          return shown(app, process);
        },
        id: () => String(store.durableSeq),
        signal,
        coalesceMs: 100,
      });
    },
  );
  mount(services.createService, async ({ body, principal, signal, location }) => {
    if ((body.artifactId === undefined) === (body.image === undefined))
      throw new Fault("invalid", "give either artifactId (an uploaded image) or image (one of the local Docker)");
    const at = now().toISOString();
    const app: App = {
      id: newId("app"),
      name: body.name,
      strategy: "rolling",
      deployTimeoutMs: DEPLOY_TIMEOUT_MS,
      createdAt: at,
    };
    const route: Route | undefined =
      body.domain === undefined
        ? undefined
        : {
            id: newId("route"),
            type: "http",
            domain: body.domain,
            path: "/",
            appId: app.id,
            app: app.name,
            process: "web",
            createdAt: at,
          };
    const routed = route ? routeChanges(store, route) : { mutations: [], expect: [] };
    if (store.get(keys.appName(body.name)))
      throw new Fault("conflict", `a service or app is named ${body.name} already`);
    await store.commit({
      actor: principal.name,
      expect: [{ key: keys.appName(body.name), version: 0 }, ...routed.expect],
      mutations: [
        { key: keys.app(app.id), value: app },
        { key: keys.appName(app.name), value: app.id },
        ...routed.mutations,
        ...eventChanges(store, now(), {
          type: "app.created",
          subject: app.id,
          app: app.name,
          actor: principal.name,
          message: `service ${app.name} was created`,
        }),
      ],
    });
    const artifactId = await artifactFor(app, body, principal.name, signal).catch(async (error: unknown) => {
      // Nothing half made stays behind when the image is no good.
      await store.commit({
        actor: principal.name,
        mutations: [
          { key: keys.app(app.id), value: null },
          { key: keys.appName(app.name), value: null },
          ...routed.mutations.map(({ key }) => ({ key, value: null })),
        ],
      });
      throw error;
    });
    const made = await release(
      app,
      {
        artifactId,
        env: body.env,
        processes: {
          web: {
            port: body.port ?? 8080,
            ...(body.command ? { command: body.command } : {}),
            ...(body.health ? { health: body.health } : {}),
          },
        },
      },
      principal.name,
    );
    await deployments.create(app, made, { by: principal.name, wanted: { web: body.count ?? 1 } });
    location(`/v1/services/${app.name}`);
    return shown(app, "web");
  });
  mount(services.updateService, async ({ params, body, principal, signal }) => {
    const { app, process } = find(params.name);
    if (body.artifactId !== undefined || body.image !== undefined) {
      const made = await release(
        app,
        { artifactId: await artifactFor(app, body, principal.name, signal) },
        principal.name,
      );
      await deployments.create(app, made, {
        by: principal.name,
        ...(body.count === undefined ? {} : { wanted: { [process]: body.count } }),
      });
    } else if (body.count !== undefined) {
      if (deployments.running(app.id))
        throw new Fault("conflict", `${app.name} is being deployed; scale it when that has ended`, { retry: true });
      const entry = app.releaseId ? formationOf(store, app.id, app.releaseId) : undefined;
      if (entry === undefined) throw new Fault("conflict", `${app.name} has nothing deployed yet`);
      const value: Formation = {
        ...entry.value,
        processes: {
          ...entry.value.processes,
          [process]: { tags: {}, ...entry.value.processes[process], count: body.count },
        },
      };
      await store.commit({
        actor: principal.name,
        expect: [{ key: entry.key, version: entry.version }],
        mutations: [
          { key: entry.key, value },
          ...eventChanges(store, now(), {
            type: "app.scaled",
            subject: app.id,
            app: app.name,
            actor: principal.name,
            message: `scaled ${params.name} to ${body.count}`,
          }),
        ],
      });
    }
    return shown(findApp(store, app.id).value, process);
  });
  mount(services.deleteService, async ({ params, principal }) => {
    const { app, process } = find(params.name);
    if (process !== "web")
      throw new Fault("conflict", `${params.name} is a process of app ${app.name}; scale it to 0, or delete the app`);
    await store.commit({ actor: principal.name, mutations: deletionOf(store, app, now(), principal.name) });
    return {};
  });
  mount(
    services.serviceLog,
    async ({ params, query: { follow: _, ...wish } }) => ({
      items: (await logs.tail(find(params.name).app.name, wish)).items,
    }),
    ({ params, query: { follow: _, ...wish }, signal }) => logs.follow(find(params.name).app.name, wish, signal),
  );
}

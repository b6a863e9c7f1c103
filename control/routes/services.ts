// The registry of what listens, and the one call that makes a service from an image: app, release, formation, deployment and
// route, with the same rules as when they are made one by one.
import type { App, Formation } from "#api/apps.ts";
import type { Artifact } from "#api/artifacts.ts";
import { Fault } from "#api/fault.ts";
import { checkImageName, type LocalDocker } from "#api/local-docker.ts";
import type { Route } from "#api/routes.ts";
import * as services from "#api/services.ts";
import { newId } from "#lib/ids.ts";
import { deletionOf } from "../apps/delete.ts";
import { currentRelease, findApp, formationOf, liveJobs } from "../apps/find.ts";
import { nextRelease, type ReleaseWish, releaseEvent } from "../apps/release.ts";
import { checkContent, contentVersion } from "../content-version.ts";
import type { Context } from "../context.ts";
import type { Deployments } from "../deploy/deployments.ts";
import { RELEASE_PROCESS } from "../deploy/release-phase.ts";
import type { Counts } from "../deploy/strategy.ts";
import { eventChanges } from "../events.ts";
import type { ExternalWatch } from "../external/health.ts";
import type { ExternalServiceRecord } from "../external/service.ts";
import { stateFeed } from "../feed.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Logs } from "../logs/logs.ts";
import type { Mount } from "../mount.ts";
import { checkAppName } from "../names.ts";
import { page } from "../paging.ts";
import type { ReleaseRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { StoreImage } from "./artifacts.ts";
import { routeChanges } from "./routes.ts";

export interface ServiceParts {
  deployments: Deployments;
  logs: Logs;
  image: StoreImage;
  docker: LocalDocker;
  external: Pick<ExternalWatch, "of">;
}

const DEPLOY_TIMEOUT_MS = 120_000;

interface Named {
  app: App;
  process: string;
}
const nameOf = ({ app, process }: Named): string => (process === "web" ? app.name : `${app.name}-${process}`);

export function mountServices(
  mount: Mount,
  context: Context,
  { deployments, logs, image, docker, external }: ServiceParts,
): void {
  const { store, now } = context;

  const countOf = ({ app, process }: Named): number =>
    deployments.running(app.id)?.processes[process]?.wanted ??
    (app.releaseId ? formationOf(store, app.id, app.releaseId)?.value.processes[process]?.count : undefined) ??
    0;
  /** Of what a change changes: its release and count, not how its instances do. */
  const version = (service: Named): number =>
    contentVersion(context.secrets, [service.app.id, deployments.headed(service.app)?.id, countOf(service)]);
  const shown = (app: App, process: string): services.Service => {
    const pending = deployments.running(app.id);
    const release =
      currentRelease(store, app) ??
      (pending && store.get<ReleaseRecord>(keys.release(app.id, pending.toReleaseId))?.value);
    const artifact = release?.artifactId ? store.get<Artifact>(keys.artifact(release.artifactId))?.value : undefined;
    const port = release?.processes[process]?.port;
    return {
      name: nameOf({ app, process }),
      app: app.name,
      process,
      image: artifact ? `${artifact.source}@${artifact.digest}` : "",
      version: release?.version ?? 0,
      count: countOf({ app, process }),
      ...(port ? { port } : {}),
      domains: store
        .list<Route>(PREFIX.routes)
        .filter(({ value }) => value.appId === app.id && value.process === process)
        .flatMap(({ value }) => (value.type === "http" ? [value.domain] : [])),
      instances: liveJobs(store, app.id)
        .filter((job) => job.process === process && job.task === undefined)
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
  const everyService = (): { key: string; value: Named }[] =>
    store
      .list<App>(PREFIX.apps)
      .filter(({ value }) => !value.deleting)
      .flatMap(({ value: app }) => {
        const release = currentRelease(store, app);
        return Object.entries(release?.processes ?? {})
          .filter(([process, { port }]) => port !== null && process !== RELEASE_PROCESS)
          .map(([process]) => ({ key: `${app.id}/${process}`, value: { app, process } }));
      })
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  const find = (name: string): Named => {
    const app = store.get<string>(keys.appName(name));
    if (store.get(keys.externalService(name)) !== undefined)
      throw new Fault("conflict", `${name} runs outside of the cluster; see it with: flynn service show ${name}`);
    if (app !== undefined) return { app: findApp(store, app.value).value, process: "web" };
    const service = everyService().find(({ value }) => nameOf(value) === name);
    if (service === undefined) throw new Fault("not-found", `no service ${name}`);
    return service.value;
  };
  /** The artifact of the app that a wish names: a new one from the local Docker, or an uploaded one (another app's is copied). */
  const artifactFor = async (
    app: App,
    wish: { artifactId?: string; image?: string },
    signal: AbortSignal,
  ): Promise<Artifact> => {
    if (wish.artifactId === undefined) {
      checkImageName(wish.image!);
      return context.room.filling(signal, async (both) => {
        const { archive } = await docker.save(wish.image!, both);
        return image({ appId: app.id, archive, source: wish.image!, signal: both });
      });
    }
    const known = store.get<Artifact>(keys.artifact(wish.artifactId))?.value;
    if (known === undefined) throw new Fault("not-found", `no artifact ${wish.artifactId}`);
    if (known.appId === app.id) return known;
    return { ...known, id: newId("artifact"), appId: app.id, createdAt: now().toISOString() };
  };
  /** Artifact, release and deployment in one record: all of it or nothing. Call in the turn of the commit. */
  const deploying = (app: Entry<App>, artifact: Artifact, wish: ReleaseWish, by: string, count: Counts) => {
    const before = deployments.headed(app.value);
    const release = nextRelease(context, app.value, before, { ...wish, artifactId: artifact.id }, { by, at: now() });
    const draft = deployments.draft(app, release, { by, wanted: count });
    return {
      expect: draft.expect,
      changes: [
        { key: keys.artifact(artifact.id), value: artifact },
        { key: keys.release(app.value.id, release.id), value: release },
        ...draft.changes,
      ],
      events: [releaseEvent(app.value, release), draft.event],
    };
  };

  const shownExternal = (service: ExternalServiceRecord): services.Service => {
    const { name, address, port } = service;
    const { state } = external.of(service);
    const jobState = state === "unknown" ? "starting" : state;
    const instance: services.Service["instances"][number] = { address, port, state: jobState, healthy: state === "up" };
    return { name, external: true, image: "", version: 0, count: 1, port, domains: [], instances: [instance] };
  };
  /** In the order of names of the store: those of apps, then those outside. */
  mount(services.listServices, ({ query }) =>
    page<{ key: string; value: Named | ExternalServiceRecord }, services.Service>(
      [...everyService(), ...store.list<ExternalServiceRecord>(PREFIX.externalServices)],
      query,
      ({ value }) => ("app" in value ? shown(value.app, value.process) : shownExternal(value)),
    ),
  );
  mount(
    services.getService,
    ({ params, etag }) => {
      const outside = store.get<ExternalServiceRecord>(keys.externalService(params.name))?.value;
      if (outside !== undefined) return shownExternal(outside);
      const { app, process } = find(params.name);
      etag(version({ app, process }));
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
  mount(services.createService, async ({ body, principal, signal, idempotent, earlier }) => {
    const made = await earlier<string>();
    if (made !== undefined) return shown(findApp(store, made).value, "web");
    if ((body.artifactId === undefined) === (body.image === undefined))
      throw new Fault("invalid", "give either artifactId (an uploaded image) or image (one of the local Docker)");
    checkAppName(body.name);
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
    const claimed = () => {
      if (store.get(keys.appName(body.name)))
        throw new Fault("conflict", `a service or app is named ${body.name} already`);
      return route ? routeChanges(store, route) : { mutations: [], expect: [] };
    };
    claimed(); // before an image is moved for nothing, and again when it is there
    const artifact = await artifactFor(app, body, signal);
    const routed = claimed();
    const processes = {
      web: {
        port: body.port ?? 8080,
        ...(body.command ? { command: body.command } : {}),
        ...(body.health ? { health: body.health } : {}),
      },
    };
    const entry = { key: keys.app(app.id), value: app, version: 0 };
    const wish = { env: body.env, processes };
    const { changes, events } = deploying(entry, artifact, wish, principal.name, { web: body.count ?? 1 });
    const { result } = await store.commit({
      actor: principal.name,
      ...idempotent,
      expect: [{ key: keys.appName(body.name), version: 0 }, ...routed.expect],
      mutations: [
        { key: entry.key, value: app },
        { key: keys.appName(app.name), value: app.id },
        ...routed.mutations,
        ...changes,
        ...eventChanges(
          store,
          now(),
          {
            type: "app.created",
            subject: app.id,
            app: app.name,
            actor: principal.name,
            message: `service ${app.name} was created`,
          },
          ...events,
        ),
      ],
      result: app.id,
    });
    return shown(findApp(store, result).value, "web");
  });
  mount(services.updateService, async ({ params, body, principal, signal, ifMatch, etag }) => {
    const { app, process } = find(params.name);
    const check = () =>
      checkContent(`service ${params.name}`, version({ app: findApp(store, app.id).value, process }), ifMatch);
    check();
    if (body.artifactId !== undefined && body.image !== undefined)
      throw new Fault("invalid", "give either artifactId or image, not both");
    if (body.artifactId !== undefined || body.image !== undefined) {
      const artifact = await artifactFor(app, body, signal);
      check(); // moving the image took its time
      const count = body.count === undefined ? {} : { [process]: body.count };
      const { changes, events, expect } = deploying(findApp(store, app.id), artifact, {}, principal.name, count);
      await store.commit({
        actor: principal.name,
        expect,
        mutations: [...changes, ...eventChanges(store, now(), ...events)],
      });
    } else if (body.count !== undefined) {
      await deployments.settled(app.id);
      check();
      if (deployments.running(app.id))
        throw new Fault("conflict", `${app.name} is being deployed; scale it when that has ended`, { retry: true });
      const { releaseId } = findApp(store, app.id).value;
      const entry = releaseId ? formationOf(store, app.id, releaseId) : undefined;
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
    const { value: after } = findApp(store, app.id);
    etag(version({ app: after, process }));
    return shown(after, process);
  });
  mount(services.deleteService, async ({ params, principal, ifMatch }) => {
    const { app, process } = find(params.name);
    checkContent(`service ${params.name}`, version({ app, process }), ifMatch);
    if (process !== "web")
      throw new Fault("conflict", `${params.name} is a process of app ${app.name}; scale it to 0, or delete the app`);
    await store.commit({ actor: principal.name, mutations: deletionOf(store, app, now(), principal.name) });
    return {};
  });
  mount(
    services.serviceLog,
    async ({ params, query: { follow: _, ...wish } }) => {
      const { app, process } = find(params.name);
      return { items: (await logs.tail(app, { process, ...wish })).items };
    },
    ({ params, query: { follow: _, ...wish }, signal, lastEventId }) => {
      const { app, process } = find(params.name);
      return logs.follow(app, { process, ...wish }, signal, lastEventId);
    },
  );
}

// Builds: what people do with them, and the agents' side.

import * as builds from "#api/builds.ts";
import { hasEnded } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import { findApp } from "../apps/find.ts";
import { buildsOf, findBuild, shownBuild } from "../builds/record.ts";
import type { RunningBuilds } from "../builds/running.ts";
import type { Context } from "../context.ts";
import { stagingOf } from "../deploy/staging.ts";
import { stateFeed } from "../feed.ts";
import { keys, padded } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { page } from "../paging.ts";

export function mountBuilds(mount: Mount, { store }: Pick<Context, "store">, running: RunningBuilds): void {
  const appOf = (app: string): string => findApp(store, app).value.id;
  const find = ({ app, id }: { app: string; id: string }) => findBuild(store, appOf(app), id);

  mount(builds.listBuilds, ({ params, query }) => {
    const newestFirst = buildsOf(store, appOf(params.app))
      .reverse()
      .map((value) => ({ key: padded(value.number), value }));
    return page(newestFirst, query, ({ value }) => shownBuild(value), { falling: true });
  });
  mount(builds.createBuild, async ({ params, query, upload, principal, signal, idempotentFor }) => {
    if (upload === undefined || upload === null)
      throw new Fault(
        "invalid",
        "send the source as the body: a tar archive, gzipped or not, content-type application/x-tar",
      );
    const { id: appId } = findApp(store, params.app).value;
    const { commit } = query;
    return running.create({
      appId,
      source: upload,
      type: "archive",
      ...(commit === undefined ? {} : { commit }),
      staging: stagingOf(query),
      by: principal.name,
      signal,
      idempotent: idempotentFor,
    });
  });
  mount(
    builds.getBuild,
    ({ params, etag }) => {
      const entry = find(params);
      etag(entry.version);
      return shownBuild(entry.value);
    },
    ({ params, signal }) => {
      const { appId, id } = find(params).value;
      return stateFeed<builds.Build>({
        subscribe: (wake) =>
          store.onDurable(({ mutations }) => {
            if (mutations.some(({ key }) => key === keys.build(appId, id))) wake();
          }),
        build: () => shownBuild(findBuild(store, appId, id).value),
        id: () => String(store.durableSeq),
        last: hasEnded,
        signal,
      });
    },
  );
  mount(
    builds.buildLog,
    async ({ params }) => {
      const { appId, id } = find(params).value;
      return { text: await running.text(appId, id) };
    },
    async function* ({ params, signal, lastEventId }) {
      const { appId, id } = find(params).value;
      const offset = /^\d{1,15}$/.test(lastEventId ?? "") ? Number(lastEventId) : 0;
      for await (const data of running.follow(appId, id, { offset, signal }))
        yield { event: "item", id: String(data.offset + Buffer.byteLength(data.text)), data };
    },
  );
  mount(builds.cancelBuild, ({ params, principal }) => {
    const { appId, id } = find(params).value;
    return running.cancel(appId, id, principal.name);
  });
  mount(builds.clearBuildCache, async ({ params, principal }) => {
    await running.clearCache(appOf(params.app), principal.name);
    return {};
  });

  const { agents } = running;
  mount(builds.hostBuildSource, ({ params }) => agents.source(params.id, params.build));
  mount(builds.hostBuildLog, ({ params, body }) => agents.log(params.id, params.build, body));
  mount(builds.hostBuildSlug, async ({ params, upload, signal }) => {
    await agents.slug(params.id, params.build, upload, signal);
    return {};
  });
  mount(builds.hostBuildImage, async ({ params, upload, signal }) => {
    await agents.image(params.id, params.build, upload, signal);
    return {};
  });
  mount(builds.hostBuildResult, async ({ params, body }) => {
    await agents.result(params.id, params.build, body);
    return {};
  });
}

// An app's pages: maintenance on and off, and what is shown then or when no job answers. Routers are told at once.

import { Fault } from "#api/fault.ts";
import type { AppPages } from "#api/pages.ts";
import { getPages, updatePages } from "#api/pages.ts";
import { PAGE_BYTES } from "#api/router-agents.ts";
import { findApp } from "../apps/find.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import { keys } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { asciiHtml } from "../routing/ascii-html.ts";

const NONE: AppPages = { maintenance: false };

export function mountPages(mount: Mount, { store, now }: Context): void {
  mount(getPages, ({ params, etag }) => {
    const entry = store.get<AppPages>(keys.pages(findApp(store, params.app).value.id));
    if (entry) etag(entry.version);
    return entry?.value ?? NONE;
  });
  mount(updatePages, async ({ params, body, principal, ifMatch, etag }) => {
    const { value: app, key: appKey, version: appVersion } = findApp(store, params.app);
    for (const field of ["page", "errorPage"] as const)
      if (asciiHtml(body[field] ?? "").length > PAGE_BYTES)
        throw new Fault(
          "too-large",
          `${field} is over ${PAGE_BYTES} bytes (characters beyond ASCII count as &#NNNN;)`,
          { details: { field } },
        );
    const key = keys.pages(app.id);
    const entry = store.get<AppPages>(key);
    const before = entry?.value ?? NONE;
    const after = merged(before, body, now().toISOString());
    const { seq } = await store.commit({
      actor: principal.name,
      expect: [
        { key, version: ifMatch ?? entry?.version ?? 0 },
        { key: appKey, version: appVersion },
      ],
      mutations: [
        { key, value: after },
        ...eventChanges(store, now(), {
          type: "app.pages",
          subject: app.id,
          app: app.name,
          actor: principal.name,
          message:
            after.maintenance === before.maintenance
              ? `the pages of ${app.name} were changed`
              : `maintenance of ${app.name} was turned ${after.maintenance ? "on" : "off"}`,
        }),
      ],
    });
    etag(seq);
    return after;
  });
}

type Changes = { [field in keyof AppPages]?: AppPages[field] | null };

/** Null takes a field back; `since` is the time maintenance was turned on. */
function merged(before: AppPages, changes: Changes, at: string): AppPages {
  const fields = Object.entries({ ...before, ...changes }).filter(([, value]) => value !== null && value !== undefined);
  const { since: _, ...after } = Object.fromEntries(fields) as unknown as AppPages;
  return after.maintenance ? { ...after, since: before.maintenance ? before.since : at } : after;
}

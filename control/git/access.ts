// Who may do what with which repository, over either transport.
import type { App } from "#api/apps.ts";
import type { Permission } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";
import { findApp } from "../apps/find.ts";
import type { Store } from "../store/store.ts";

export const SERVICES = { "git-upload-pack": "app:read", "git-receive-pack": "app:write" } as const satisfies Record<
  string,
  Permission
>;
export type Service = keyof typeof SERVICES;

export const isService = (text: unknown): text is Service => typeof text === "string" && Object.hasOwn(SERVICES, text);

/** The app of `hello.git` or `hello`. Fault `not-found` in words for everything else. */
export function appOf(store: Store, repository: string): App {
  const name = /^([a-z][a-z0-9-]{0,63}?)(\.git)?$/.exec(repository)?.[1];
  if (name === undefined) throw new Fault("not-found", "a repository's path is APP.git, with an app's name");
  try {
    return findApp(store, name).value;
  } catch (error) {
    throw error instanceof Fault && error.code === "not-found"
      ? new Fault("not-found", `no app ${name}; \`flynn apps\` lists them, \`flynn create ${name}\` makes it`)
      : error;
  }
}

// The build and the deployment of a pushed commit, followed to their end: a new build, one that an earlier push began, or none when
// the commit runs already.
import type { App } from "#api/apps.ts";
import { type Build, hasEnded } from "#api/builds.ts";
import { currentRelease, findApp } from "../apps/find.ts";
import type { BuildRequest, Builds } from "../builds/builds.ts";
import { keys } from "../keys.ts";
import type { Store } from "../store/store.ts";
import { archiveOf, type Tree } from "./source.ts";
import type { PushSpace } from "./space.ts";

export type PushBuilds = Pick<Builds, "create" | "get" | "follow">;

export interface DeployParts {
  store: Store;
  builds: PushBuilds;
  space: Pick<PushSpace, "check">;
}

export interface DeployWish extends Required<Pick<BuildRequest, "ref" | "admit" | "by" | "signal">> {
  app: App;
  tree: Tree;
  say: (text: string) => void;
}

/** Undefined when the commit runs; else why not, in a few words: the log that was copied says the rest. */
export async function buildAndDeploy(parts: DeployParts, requested: DeployWish): Promise<string | undefined> {
  const { store, builds, space } = parts;
  const { by, ref, tree, admit, say, signal } = requested;
  const { commit, repository } = tree;
  const app = findApp(store, requested.app.id).value;
  const name = commit.slice(0, 8);
  if (isDeployed(store, builds, app, commit)) {
    say(`=====> ${name} is built and deployed already; only the branch moves. To deploy it again: flynn redeploy\n`);
    return undefined;
  }
  let build = running(store, app, commit);
  if (build === undefined) {
    const packedBytes = await space.check(repository, undefined);
    const source = archiveOf(tree);
    build = await builds.create({ appId: app.id, type: "git", commit, ref, by, packedBytes, signal, admit, source });
  } else say(`-----> ${name} is being built already, as build ${build.number}; this is how it goes on\n`);
  for await (const { text } of builds.follow(app.id, build.id, { signal })) if (text !== "") say(text);
  const state = builds.get(app.id, build.id)?.state;
  if (state === "succeeded") return undefined;
  signal.throwIfAborted();
  const words = `build ${build.number} ${state === "cancelled" ? "was cancelled" : "failed"}`;
  say(` !     Push rejected to ${app.name}: ${words}.\n`);
  return words;
}

/** The newest build of the app, when it is of this commit and not over: an earlier push of it lost its control. */
export function running(store: Store, app: App, commit: string): Build | undefined {
  const newest = store
    .list<Build>(keys.buildsOf(app.id))
    .map(({ value }) => value)
    .reduce<Build | undefined>(
      (most, build) => (most === undefined || build.number > most.number ? build : most),
      undefined,
    );
  return newest !== undefined && !hasEnded(newest) && newest.source.commit === commit ? newest : undefined;
}

/** What runs now came from a build of this commit. */
export function isDeployed(store: Store, builds: PushBuilds, app: App, commit: string): boolean {
  const release = currentRelease(store, app);
  if (release?.buildId === undefined || release.commit !== commit) return false;
  const build = builds.get(app.id, release.buildId);
  return build?.state === "succeeded" && build.source.commit === commit && build.artifactId === release.artifactId;
}

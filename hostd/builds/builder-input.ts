// What the builder of classic buildpacks finds in its container.
import { createReadStream } from "node:fs";
import type { Readable } from "node:stream";
import type { BuildSpec } from "#api/builds.ts";
import { packEntries } from "./archive.ts";
import { type InstallerFiles, installerVariables } from "./installers.ts";

const BUILDER = { uid: 1000, gid: 1000, mtime: new Date(0) } as const;
const AUTHORITIES = "in/authorities";
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** What a builder is given: /in/source.tar, /in/build.json, one file per variable in /in/env, and an empty /out. */
export function builderInput(
  build: Pick<BuildSpec, "app" | "id" | "commit" | "buildpacks" | "env" | "source" | "installers">,
  stack: string,
  sourceFile: string,
  authorities?: InstallerFiles,
): Readable {
  const { app, id, commit, buildpacks, env, source } = build;
  const environment = installerVariables(build.installers, `/${AUTHORITIES}`);
  return packEntries(async (add) => {
    const folder = (name: string) => add({ ...BUILDER, name, type: "directory", mode: 0o755 });
    const file = (name: string, mode: number, content: string) => add({ ...BUILDER, name, mode }, content);
    await folder("in");
    await folder("in/env");
    await folder("out");
    await file("in/build.json", 0o644, JSON.stringify({ app, build: id, commit, stack, buildpacks, environment }));
    if (authorities !== undefined) {
      await folder(AUTHORITIES);
      await file(`${AUTHORITIES}/own.pem`, 0o644, authorities.own);
      await file(`${AUTHORITIES}/bundle.pem`, 0o644, authorities.bundle);
    }
    for (const [name, value] of Object.entries(env))
      if (ENV_NAME.test(name)) await file(`in/env/${name}`, 0o600, value);
    await add({ ...BUILDER, name: "in/source.tar", mode: 0o644, size: source.sizeBytes }, createReadStream(sourceFile));
  });
}

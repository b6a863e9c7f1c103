// How a source is built, and why so: what the settings say, else a Dockerfile, else project.toml or a builder, else buildpacks.
import type { BuildKind, BuildSettings } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import type { SourceFacts } from "./facts.ts";

export interface Choice {
  kind: BuildKind;
  /** For the log: `Building with Docker (Dockerfile found)`. */
  words: string;
}

const NAMES: Record<BuildKind, string> = {
  dockerfile: "Docker",
  cnb: "Cloud Native Buildpacks",
  buildpacks: "buildpacks",
};

/** Fault `invalid` when what was asked for cannot be. */
export function chooseKind(settings: BuildSettings, { dockerfile, texts }: SourceFacts): Choice {
  const { kind, why } = decide(settings, { dockerfile, projectToml: texts["project.toml"] !== undefined });
  const file = settings.dockerfile ?? "Dockerfile";
  if (kind === "dockerfile" && !dockerfile)
    throw new Fault("invalid", `there is no ${file} in the source, and the build settings want one`);
  return { kind, words: `Building with ${NAMES[kind]} (${why})` };
}

function decide(
  settings: BuildSettings,
  found: { dockerfile: boolean; projectToml: boolean },
): { kind: BuildKind; why: string } {
  if (settings.kind !== undefined) return { kind: settings.kind, why: "by the app's settings" };
  if (settings.dockerfile !== undefined)
    return { kind: "dockerfile", why: `${settings.dockerfile}, by the app's settings` };
  if (found.dockerfile) return { kind: "dockerfile", why: "Dockerfile found" };
  if (found.projectToml) return { kind: "cnb", why: "project.toml found" };
  if (settings.builder !== undefined) return { kind: "cnb", why: "the app's settings name a builder" };
  return { kind: "buildpacks", why: "no Dockerfile, no project.toml" };
}

/** Buildpacks in order: BUILDPACK_URL wins, then the settings, then app.json; `.buildpacks` is read by the builder itself. */
export function chosenBuildpacks(
  settings: BuildSettings,
  {
    env,
    appJson,
    texts,
  }: { env: Readonly<Record<string, string>>; appJson: readonly string[]; texts: SourceFacts["texts"] },
): string[] {
  const url = env["BUILDPACK_URL"]?.trim();
  if (url) return [url];
  if (settings.buildpacks !== undefined && settings.buildpacks.length > 0) return settings.buildpacks;
  return texts[".buildpacks"] === undefined ? [...appJson] : [];
}

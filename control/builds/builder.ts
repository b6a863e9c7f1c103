// Which builder image an app of Cloud Native Buildpacks is built by: what project.toml names, else what the settings name, and where
// the settings say the kind, they say the builder too. Only images that were uploaded for the app count. Pure.
import type { Artifact } from "#api/artifacts.ts";
import type { BuildSettings } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";

export interface BuilderRequest {
  settings: BuildSettings;
  /** The builder of project.toml, as it is written there. */
  named?: string;
  /** The app's artifacts. */
  uploaded: readonly Artifact[];
}

export interface BuilderChoice {
  builder: string;
  /** For the log: `Builder heroku/builder:24 (by project.toml)`. */
  words: string;
  warnings: string[];
}

/** Fault `invalid` when there is none of that name, or none at all. */
export function chooseBuilder({ settings, named, uploaded }: BuilderRequest): BuilderChoice {
  const set = settings.builder;
  const ofSettings = uploaded.find(({ id }) => id === set);
  const chosen = (artifact: Artifact, by: string, warnings: string[] = []): BuilderChoice => ({
    builder: artifact.id,
    words: `Builder ${artifact.source} (${by})`,
    warnings,
  });
  if (set !== undefined && ofSettings === undefined)
    throw new Fault("invalid", `builder=${set} is no artifact of this app: flynn build builder upload`);
  const known = uploaded.filter(({ source }) => named !== undefined && sameImage(source, named));
  const latest = known.find(({ id }) => id === set) ?? newest(known);
  if (ofSettings !== undefined && (named === undefined || settings.kind === "cnb" || latest === ofSettings)) {
    const another = named !== undefined && latest !== ofSettings;
    const warnings = another ? [`project.toml names the builder ${named}; the app's settings go before it`] : [];
    return chosen(ofSettings, "by the app's settings", warnings);
  }
  if (latest !== undefined) return chosen(latest, "by project.toml");
  if (named !== undefined)
    throw new Fault(
      "invalid",
      `project.toml names the builder ${named}, which is not in the cluster's registry for this app: flynn build builder upload ${named}${
        ofSettings === undefined ? "" : `; or build with ${ofSettings.source} all the same: flynn build set kind=cnb`
      }`,
    );
  throw new Fault(
    "invalid",
    "Cloud Native Buildpacks need a builder image: upload one (flynn build builder upload), or build another way (flynn build set kind=buildpacks)",
  );
}

const newest = (artifacts: readonly Artifact[]): Artifact | undefined =>
  artifacts.toSorted((a, b) => (a.createdAt < b.createdAt ? -1 : 1)).at(-1);

/** Two spellings of one image of a registry: `heroku/builder:24`, `docker.io/heroku/builder:24`. */
export const sameImage = (one: string, other: string): boolean => spelledOut(one) === spelledOut(other);

function spelledOut(text: string): string {
  const name = text
    .replace(/^docker:\/\//, "")
    .replace(/^(index\.)?docker\.io\//, "")
    .replace(/^library\//, "");
  return name.includes("@") || /:[^/]*$/.test(name) ? name : `${name}:latest`;
}

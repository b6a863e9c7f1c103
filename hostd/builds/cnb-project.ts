// What project.toml asks of a build with Cloud Native Buildpacks on this builder: which files, variables and buildpacks. Pure.
import { isFault } from "#api/fault.ts";
import { type ProjectBuildpack, type ProjectToml, parseProjectToml } from "#api/project-toml.ts";
import { gitignore } from "#lib/gitignore.ts";
import type { ImageFacts } from "./engine.ts";
import { BuildFailure } from "./failure.ts";

type Labels = Pick<ImageFacts, "labels">;

export interface Project {
  /** True of what the build gets. */
  keeps: (path: string, isFolder: boolean) => boolean;
  env: Record<string, string>;
  /** In place of the builder's order.toml. */
  order?: string;
  /** For the log. */
  words: string[];
}

const ALL: Project = { keeps: () => true, env: {}, words: [] };

/** `text`: the source's project.toml. */
export function projectOf(text: string | undefined, builder: Labels): Project {
  if (text === undefined) return ALL;
  let project: ProjectToml;
  try {
    project = parseProjectToml(text);
  } catch (error) {
    throw isFault(error) ? new BuildFailure(error.message) : error;
  }
  const { include, exclude, env } = project;
  const excluded = gitignore(exclude);
  const included = gitignore(include);
  const order = orderOf(project, builder);
  return {
    keeps: (path, isFolder) => (include.length > 0 ? included(path, isFolder) : !excluded(path, isFolder)),
    env,
    ...(order === undefined ? {} : { order: orderToml(order) }),
    words: [
      ...said(
        "files",
        include.length > 0 ? ["only", ...include] : exclude.length > 0 ? ["without", ...exclude] : [],
        " ",
      ),
      ...said("variables", Object.keys(env), ", "),
      ...said(
        "buildpacks",
        (order ?? []).map((group) => group.map(called).join(", ")),
        "; or ",
      ),
    ],
  };
}

const said = (what: string, names: readonly string[], between: string): string[] =>
  names.length === 0 ? [] : [`project.toml: ${what} ${names.join(between)}`.slice(0, 500)];
const called = ({ id, version }: ProjectBuildpack): string => `${id}@${version}`;

interface Listed extends ProjectBuildpack {
  optional?: boolean;
}

function orderOf({ group, pre, post }: ProjectToml, builder: Labels): Listed[][] | undefined {
  if (group.length + pre.length + post.length === 0) return undefined;
  const versions = versionsOf(builder);
  const found = (wanted: readonly ProjectBuildpack[]): Listed[] => wanted.map((one) => inBuilder(one, versions));
  if (group.length > 0) return [[...found(pre), ...found(group), ...found(post)]];
  const own = builderOrder(builder);
  if (own.length === 0)
    throw new BuildFailure(
      "project.toml puts buildpacks before or after the builder's own, and the builder does not say its order",
    );
  return own.map((one) => [...found(pre), ...one, ...found(post)]);
}

function inBuilder({ id, version }: ProjectBuildpack, versions: ReadonlyMap<string, readonly string[]>): Listed {
  const known = versions.get(id) ?? [];
  const [only] = known;
  // A builder that lists nothing may have it all the same: its lifecycle says when it has not.
  if (versions.size === 0 && version !== undefined) return { id, version };
  if (versions.size === 0)
    throw new BuildFailure(
      `project.toml: buildpack ${id} needs its version, since the builder does not list its buildpacks`,
    );
  if (only === undefined)
    throw new BuildFailure(
      `project.toml: the builder has no buildpack ${id}; it has ${[...versions.keys()].sort().join(", ")}`.slice(
        0,
        1_000,
      ),
    );
  if (version !== undefined && !known.includes(version))
    throw new BuildFailure(`project.toml: the builder has ${id} in version ${known.join(", ")}, not ${version}`);
  if (version === undefined && known.length > 1)
    throw new BuildFailure(`project.toml: the builder has several versions of ${id}, name one: ${known.join(", ")}`);
  return { id, version: version ?? only };
}

/** `io.buildpacks.buildpack.layers`, as `pack builder create` writes it: id to version to what it is. Else the builder's metadata. */
function versionsOf({ labels }: Labels): Map<string, string[]> {
  const versions = new Map<string, string[]>();
  for (const [id, found] of Object.entries(record(parse(labels["io.buildpacks.buildpack.layers"]))))
    versions.set(id, Object.keys(record(found)));
  if (versions.size > 0) return versions;
  for (const { id, version } of list(record(parse(labels["io.buildpacks.builder.metadata"]))["buildpacks"]))
    if (typeof id === "string" && typeof version === "string") versions.set(id, [...(versions.get(id) ?? []), version]);
  return versions;
}

function builderOrder({ labels }: Labels): Listed[][] {
  const versions = versionsOf({ labels });
  return list(parse(labels["io.buildpacks.buildpack.order"]))
    .map(({ group }) =>
      list(group).map(({ id, version, optional }): Listed => {
        const wanted = { id: String(id), ...(typeof version === "string" && version !== "" ? { version } : {}) };
        return { ...inBuilder(wanted, versions), ...(optional === true ? { optional } : {}) };
      }),
    )
    .filter((group) => group.length > 0);
}

/** JSON strings without control characters are TOML's basic strings. */
const orderToml = (order: readonly Listed[][]): string =>
  order
    .map((group) => {
      const entries = group.map(
        ({ id, version, optional }) =>
          `[[order.group]]\nid = ${quoted(id)}\nversion = ${quoted(version ?? "")}\n${optional ? "optional = true\n" : ""}`,
      );
      return `[[order]]\n${entries.join("")}`;
    })
    .join("");

function quoted(text: string): string {
  if (/[\u0000-\u001f\u007f]/.test(text))
    throw new BuildFailure("the builder names a buildpack with a control character");
  return JSON.stringify(text);
}

function parse(label: string | undefined): unknown {
  try {
    return JSON.parse(label ?? "null");
  } catch {
    return undefined;
  }
}
const record = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
const list = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value.map(record) : []);

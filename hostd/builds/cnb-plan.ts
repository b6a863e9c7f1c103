// Cloud Native Buildpacks as a rule: which lifecycle phases run in which order, what each may see and reach, and what an exit
// code of one means. Pure.
import type { ImageFacts } from "./engine.ts";
import { BuildFailure } from "./failure.ts";

/** The first that can export to an OCI layout, and thereby without a registry; lifecycles since 0.17 speak it. */
const PLATFORM_API = "0.12";

/** Volumes of a build beside the app's cache, each at the place that buildpacks know it by. */
export const CNB_VOLUMES = ["layers", "workspace", "platform", "layout"] as const;
export type CnbVolume = (typeof CNB_VOLUMES)[number] | "cache";

/** References that only mean folders of the layout: nothing resolves them. */
const REGISTRY = "build.flynn.invalid";
const RUN_IMAGE = `${REGISTRY}/run:latest`;
const APP_IMAGE = `${REGISTRY}/app:latest`;
export const RUN_LAYOUT = `layout/${REGISTRY}/run/latest`;
export const APP_LAYOUT = `layout/${REGISTRY}/app/latest`;

export interface CnbUser {
  uid: number;
  gid: number;
}

export interface CnbPhase {
  name: "analyzer" | "detector" | "restorer" | "builder" | "exporter";
  /** For the log, when it has something to say to people. */
  step?: string;
  command: string[];
  volumes: readonly CnbVolume[];
  /** Buildpacks run in it: it gets the builds' network. The others reach nothing. */
  network: boolean;
}

/** An app's cache, apart from what builds of other kinds or users left in the same volume. */
export const cnbCache = ({ uid, gid }: CnbUser): string => `cache/cnb-${uid}-${gid}`;

export function cnbPhases(user: CnbUser): CnbPhase[] {
  const layout = ["-layout", "-layout-dir", "/layout"];
  const cache = ["-cache-dir", `/${cnbCache(user)}`];
  const run = (name: CnbPhase["name"], ...flags: string[]) => ({
    name,
    command: [`/cnb/lifecycle/${name}`, "-no-color", "-layers", "/layers", ...flags],
  });
  const ids = ["-uid", String(user.uid), "-gid", String(user.gid)];
  const sources = ["-app", "/workspace"];
  return [
    {
      ...run("analyzer", ...ids, ...layout, "-run-image", RUN_IMAGE, APP_IMAGE),
      volumes: ["layers", "layout"],
      network: false,
    },
    {
      ...run("detector", ...sources, "-platform", "/platform"),
      step: "Detecting buildpacks",
      volumes: ["layers", "workspace", "platform"],
      network: true,
    },
    { ...run("restorer", ...ids, ...layout, ...cache), volumes: ["layers", "layout", "cache"], network: false },
    {
      ...run("builder", ...sources, "-platform", "/platform"),
      step: "Building with the buildpacks",
      volumes: ["layers", "workspace", "platform"],
      network: true,
    },
    {
      ...run("exporter", ...ids, ...sources, ...layout, ...cache, APP_IMAGE),
      step: "Exporting the image",
      volumes: ["layers", "workspace", "layout", "cache"],
      network: false,
    },
  ];
}

/** Said to each phase; people's variables are files, and never here. */
export const CNB_ENV = {
  CNB_PLATFORM_API: PLATFORM_API,
  CNB_EXPERIMENTAL_MODE: "quiet",
  CNB_DEPRECATION_MODE: "quiet",
} as const;

const MAX_ID = 2 ** 31;

/** Whom a builder image builds as. */
export function builderUser({ env }: Pick<ImageFacts, "env">): CnbUser {
  const [uid, gid] = ["CNB_USER_ID", "CNB_GROUP_ID"].map((name) => {
    const text = env[name] ?? "";
    if (!/^\d{1,10}$/.test(text) || Number(text) > MAX_ID)
      throw new BuildFailure(`the builder image does not say ${name}: is it a Cloud Native Buildpacks builder?`);
    return Number(text);
  }) as [number, number];
  if (uid === 0) throw new BuildFailure("the builder image wants to build as root, which no build may");
  return { uid, gid };
}

/** The run image that a builder was made for, as far as it says. */
export function namedRunImage({ labels }: Pick<ImageFacts, "labels">): string | undefined {
  try {
    const about = JSON.parse(labels["io.buildpacks.builder.metadata"] ?? "{}") as {
      images?: { image?: unknown }[];
      stack?: { runImage?: { image?: unknown } };
    };
    const name = about.images?.[0]?.image ?? about.stack?.runImage?.image;
    return typeof name === "string" && /^[\x21-\x7e]{1,200}$/.test(name) ? name : undefined;
  } catch {
    return undefined;
  }
}

const EXITS: Readonly<Record<number, string>> = {
  11: `the builder's lifecycle does not speak platform API ${PLATFORM_API}: it needs lifecycle 0.17 or newer`,
  12: "the builder's lifecycle is too old for one of its buildpacks",
  20: "no buildpack of the builder fits this source",
  21: "no buildpack of the builder fits this source, and one of them failed while it looked",
  51: "a buildpack failed",
  126: "the builder image's lifecycle cannot be run here",
  127: "the builder image has no lifecycle: is it a Cloud Native Buildpacks builder?",
};

/** What an exit code other than 0 means in words. */
export const exitReason = (phase: CnbPhase["name"], exitCode: number): string =>
  EXITS[exitCode] ?? `the ${phase} of the builder's lifecycle ended with code ${exitCode}`;

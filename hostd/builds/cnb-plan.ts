// Cloud Native Buildpacks as a rule: which lifecycle phases run in which order, what each may see and reach, and what an exit
// code of one means. Pure.
import type { ImageFacts } from "./engine.ts";
import { BuildFailure } from "./failure.ts";

/** What is spoken here, the best known first. 0.12, of lifecycle 0.17, is the first that exports without a registry, to a layout. */
const PLATFORM_APIS = ["0.12", "0.13", "0.14", "0.15"] as const;

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

export interface CnbPlan {
  /** Buildpacks in place of the builder's order are at ORDER_FILE. */
  order: boolean;
}

/** Where lifecycles look before they look at their builder's own. */
export const ORDER_FILE = "layers/order.toml";

export function cnbPhases(user: CnbUser, { order }: CnbPlan): CnbPhase[] {
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
      ...run("detector", ...sources, "-platform", "/platform", ...(order ? ["-order", `/${ORDER_FILE}`] : [])),
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
export const cnbEnv = (platformApi: string): Record<string, string> => ({
  CNB_PLATFORM_API: platformApi,
  CNB_EXPERIMENTAL_MODE: "quiet",
  CNB_DEPRECATION_MODE: "quiet",
});

export interface PlatformApi {
  version: string;
  warning?: string;
}

/** The platform API that both sides speak: one that the lifecycle deprecates only where there is no other. */
export function platformApi(builder: Pick<ImageFacts, "labels">): PlatformApi {
  const { version: lifecycle, supported, deprecated } = lifecycleApis(builder);
  // It does not say: its first phase will.
  if (supported.length === 0) return { version: PLATFORM_APIS[0] };
  const common = PLATFORM_APIS.filter((one) => supported.includes(one));
  const version = common.find((one) => !deprecated.includes(one));
  if (version !== undefined) return { version };
  const [old] = common;
  if (old === undefined)
    throw new BuildFailure(
      `the builder's lifecycle${lifecycle} speaks platform API ${supported.join(", ")}, and here ${PLATFORM_APIS.join(", ")} are spoken: it needs lifecycle 0.17 or newer`,
    );
  return { version: old, warning: `the builder's lifecycle${lifecycle} will soon not speak platform API ${old}` };
}

/** As `pack builder create` writes it, or as the lifecycle's own image has it. Very old ones name one API, in `api`. */
function lifecycleApis({ labels }: Pick<ImageFacts, "labels">) {
  const about = json(labels["io.buildpacks.builder.metadata"])["lifecycle"] as Found | undefined;
  const apis =
    about?.apis?.platform ?? (json(labels["io.buildpacks.lifecycle.apis"])["platform"] as Found["apis"]["platform"]);
  const one = about?.api?.platform;
  const texts = (value: unknown) =>
    (Array.isArray(value) ? value : []).filter((text): text is string => /^\d{1,3}(\.\d{1,3})?$/.test(String(text)));
  const supported = texts(apis?.supported);
  return {
    version: /^[0-9A-Za-z.+-]{1,40}$/.test(String(about?.version ?? "")) ? ` ${String(about?.version)}` : "",
    supported: supported.length > 0 ? supported : texts([one]),
    deprecated: texts(apis?.deprecated),
  };
}

interface Found {
  version?: unknown;
  api?: { platform?: unknown };
  apis: { platform?: { supported?: unknown; deprecated?: unknown } | undefined };
}

function json(label: string | undefined): Record<string, unknown> {
  try {
    const found: unknown = JSON.parse(label ?? "{}");
    return typeof found === "object" && found !== null ? (found as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** The largest that Docker takes. */
const MAX_ID = 2 ** 31 - 1;

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
  const about = json(labels["io.buildpacks.builder.metadata"]) as {
    images?: { image?: unknown }[];
    stack?: { runImage?: { image?: unknown } };
  };
  const name = about.images?.[0]?.image ?? about.stack?.runImage?.image;
  return typeof name === "string" && /^[\x21-\x7e]{1,200}$/.test(name) ? name : undefined;
}

const EXITS: Readonly<Record<number, string>> = {
  11: "the builder's lifecycle does not speak the platform API that is spoken here: it needs lifecycle 0.17 or newer",
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

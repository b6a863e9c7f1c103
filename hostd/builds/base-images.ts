// The images a Dockerfile is made from: fetched by hostd before the build, from where builds may fetch, and held to the same rule
// as the Dockerfile in what they have Docker run. Docker fetches none itself: it would look names up again, and follow redirects and
// token services to wherever they lead from the host's own place.
import { arch } from "node:os";
import { causeChain } from "#lib/run.ts";
import { joined } from "#lib/time.ts";
import { formatSize } from "#lib/units.ts";
import { checkTrigger, type DockerfilePlan } from "./dockerfile-plan.ts";
import { DockerfileError } from "./dockerfile-syntax.ts";
import { BuildFailure } from "./failure.ts";
import { type FetchPolicy, FetchRefused, fetchAddress, withoutPort } from "./fetch-policy.ts";
import { DEFAULT_DOMAIN, formatReference, type ImageReference, localName } from "./image-reference.ts";
import { registryHttp } from "./registry-http.ts";
import { registryImage, registryImageId } from "./registry-image.ts";
import type { BuildRun } from "./run.ts";

const STACK_IMAGES = ["flynn/builder", "flynn/runner"] as const;
/** Unpacked; what the host has free beyond a reserve may make it less. */
const IMAGE_MOST_BYTES = 16 * 1024 ** 3;
const KEPT_FREE_BYTES = 1024 ** 3;
/** For all images of one build together: it holds the host's place for builds meanwhile. */
const FETCH_MOST_MS = 30 * 60_000;
/** Registries count such questions; who wants an exact image names its digest. */
const FRESH_MS = 15 * 60_000;
/** For the question whether an image is still its registry's. */
const LOOK_MOST_MS = 10_000;
/** A registry that did not answer is asked again after so long. */
const AGAIN_MS = 60_000;

export const stackImage = ({ domain, path }: ImageReference): "builder" | "runner" | undefined =>
  domain === DEFAULT_DOMAIN && STACK_IMAGES.some((name) => name === path)
    ? (path.slice("flynn/".length) as "builder" | "runner")
    : undefined;

/** Why images of this registry are not for builds, by its name alone; undefined: its addresses decide. Pure. */
export function refuseRegistry(domain: string, { registry }: Pick<FetchPolicy, "registry">): string | undefined {
  const host = withoutPort(domain);
  if (host === withoutPort(registry)) return "the cluster's own registry is closed to builds";
  if (host === "localhost") return `registry ${domain} is inside the cluster, which is closed to builds`;
  return host.endsWith(".invalid") ? `registry ${domain} stands for nothing` : undefined;
}

/** When each base image of this host was last found to be what its registry has, monotonic ms, by its local name. */
export type Checked = Map<string, number>;

export interface BaseImages {
  checked: Checked;
  freshMs?: number;
  /** Tells when it is used, so that those that nobody uses go. */
  use?: (name: string) => Promise<void>;
  /** How registries are asked; over HTTPS, by checked addresses, unless given. */
  http?: typeof registryHttp;
}

export async function fetchBaseImages(
  { images }: Pick<DockerfilePlan, "images">,
  run: BuildRun,
  bases: BaseImages = { checked: new Map() },
): Promise<void> {
  const { parts, target, onProgress } = run;
  const late = AbortSignal.timeout(FETCH_MOST_MS);
  for (const { reference, line } of images) {
    const name = formatReference(reference);
    const of = stackImage(reference);
    onProgress("starting", `pulling ${name}`);
    if (of !== undefined) await stackBase(run, reference, of, line);
    else {
      const refusal = refuseRegistry(reference.domain, target);
      if (refusal !== undefined) throw new BuildFailure(`line ${line}: FROM ${name}: ${refusal}`);
      await foreignBase(run, reference, { ...bases, line, late });
    }
    await bases.use?.(localName(reference));
    const facts = await parts.engine.inspectImage(localName(reference));
    if (facts === undefined) throw new Error(`image ${name} was fetched and is not there`);
    for (const trigger of facts.onBuild)
      try {
        checkTrigger(trigger);
      } catch (error) {
        if (!(error instanceof DockerfileError)) throw error;
        throw new BuildFailure(`line ${line}: image ${name} brings a step with it that is refused: ${error.message}`);
      }
  }
}

async function stackBase(
  { parts, target, signal }: BuildRun,
  reference: ImageReference,
  of: "builder" | "runner",
  line: number,
): Promise<void> {
  const image = target.stack?.[of];
  if (image === undefined)
    throw new BuildFailure(`line ${line}: the cluster has no stack yet: run \`flynn stack build\``);
  await parts.jobEngine.pull(image, signal);
  for (const name of [`flynn/${of}`, localName(reference)]) await parts.engine.tagImage(image, name);
}

/**
 * One that hostd fetched before is compared with its registry's every quarter of an hour, unless a digest names it; while the registry
 * does not answer it goes on being used, and the build says so. One that is here under its own name is not: it may be an app's, from where the
 * cluster's registry once was.
 */
async function foreignBase(
  run: BuildRun,
  reference: ImageReference,
  {
    line,
    late,
    checked,
    freshMs = FRESH_MS,
    http: open = registryHttp,
  }: BaseImages & { line: number; late: AbortSignal },
): Promise<void> {
  const { parts, target, build, signal } = run;
  const { engine } = parts;
  const name = formatReference(reference);
  const local = localName(reference);
  const here = await engine.inspectImage(local);
  const checkedMs = checked.get(local) ?? Number.NEGATIVE_INFINITY;
  if (here !== undefined && (reference.digest !== undefined || performance.now() - checkedMs < freshMs)) return;
  const mostBytes = Math.min(IMAGE_MOST_BYTES, Math.max(0, (await parts.freeBytes()) - KEPT_FREE_BYTES) / 2);
  if (mostBytes === 0) throw new BuildFailure(`the host has no room for images (${formatSize(0)} to spare)`);
  const policy = { ...target, clusterAddresses: parts.clusterAddresses() };
  const http = open({
    addressOf: (host) => fetchAddress(host, policy),
    certsDir: parts.certsDir,
    caPem: build.installers?.ca,
  });
  const until = joined(signal, late);
  const both = until.signal;
  const tooLong = new AbortController();
  const looking = joined(both, tooLong.signal);
  const architecture = arch() === "x64" ? "amd64" : arch();
  try {
    if (here !== undefined) {
      const limit = setTimeout(() => tooLong.abort(new Error("its registry took too long")), LOOK_MOST_MS);
      const id = await registryImageId({ http, reference, architecture, signal: looking.signal }).finally(() =>
        clearTimeout(limit),
      );
      if (id === here.id) {
        checked.set(local, performance.now());
        return;
      }
    }
    const archive = await registryImage({
      http,
      reference,
      as: `${localName(reference)}:latest`,
      architecture,
      mostBytes,
      signal: both,
    });
    await engine.loadImage(archive, both);
    checked.set(local, performance.now());
    // The one before has no name any more; layers that builds have on it keep it until they go.
    if (here !== undefined) await engine.removeImage(here.id, { keepParents: false }).catch(() => undefined);
  } catch (cause) {
    signal.throwIfAborted();
    if (here !== undefined) {
      // No build waits long for a registry that is away, and the next few not at all.
      checked.set(local, performance.now() - freshMs + AGAIN_MS);
      run.say(
        `FROM ${name}: the image of before is used, since a newer one could not be looked for: ${causeChain(cause).join(": ").slice(0, 300)}`,
      );
      return;
    }
    const refused = refusalIn(cause);
    const why = refused
      ? `FROM ${name}: ${refused.message}`
      : `image ${name} could not be pulled: ${late.aborted ? `its images were not all here after ${FETCH_MOST_MS / 60_000} min` : causeChain(cause).join(": ")}`;
    throw new BuildFailure(`line ${line}: ${why.slice(0, 1_000)}`, { cause });
  } finally {
    looking.release();
    until.release();
  }
}

function refusalIn(error: unknown): FetchRefused | undefined {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof FetchRefused) return at;
  return undefined;
}

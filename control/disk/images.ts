// What an app's images, and all apps' together, may be in the registry. Each counts as it was sent, though the registry keeps a layer
// that two have once: an app's right does not depend on what others have.

import { type Readable, Transform } from "node:stream";
import type { Artifact } from "#api/artifacts.ts";
import { hasEnded } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import { formatSize } from "#lib/units.ts";
import type { BuildRecord } from "../builds/record.ts";
import type { ControlConfig } from "../config.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Store } from "../store/store.ts";

type Quotas = Pick<ControlConfig, "appImageBytes" | "imageBytes">;

/** An image that comes in: counted from its first byte until it is on record, so that uploads at once share what is left. */
export interface ImageClaim {
  /** Fault `too-large` or `no-capacity` when so much more is too much. */
  add(bytes: number): void;
  /** The same bytes, each counted; its error is the fault. */
  counted(archive: Readable): Readable;
  /** It has come in, and is the caller's to put on record as this artifact: counted until it is. */
  end(artifactId?: string): void;
}

interface Claimed {
  appId: string;
  bytes: number;
  artifactId?: string;
  endedMs?: number;
}
/** What came in and is not on record by then never will be. */
const RECORD_MS = 60_000;
/** Records are read again after so many bytes, and at the end. */
const CHECK_BYTES = 16 << 20;

const claimsByStore = new WeakMap<Store, Set<Claimed>>();

/** Faults `too-large`, `no-capacity` when nothing is left. */
export function claimImage(store: Store, quotas: Quotas, appId: string): ImageClaim {
  const claims = claimsByStore.get(store) ?? new Set<Claimed>();
  claimsByStore.set(store, claims);
  const claim: Claimed = { appId, bytes: 0 };
  const check = (needBytes: number) =>
    checkRoom(store, quotas, { appId, needBytes, others: others(store, claims, claim) });
  check(1);
  claims.add(claim);
  const end = (artifactId?: string): void => {
    if (artifactId === undefined) claims.delete(claim);
    else Object.assign(claim, { artifactId, endedMs: performance.now() });
  };
  return {
    add(bytes) {
      claim.bytes += bytes;
      check(claim.bytes);
    },
    counted(archive) {
      let unchecked = 0;
      const failure = (): Error | null => {
        try {
          check(claim.bytes);
          return null;
        } catch (error) {
          return error as Error;
        }
      };
      const stream = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          claim.bytes += chunk.length;
          unchecked += chunk.length;
          const isTime = unchecked >= Math.min(CHECK_BYTES, quotas.appImageBytes / 16);
          if (isTime) unchecked = 0;
          const error = isTime ? failure() : null;
          if (error) done(error);
          else done(null, chunk);
        },
        flush: (done) => done(failure()),
      });
      stream.on("error", () => undefined); // who reads it is told, also one that begins to only later
      archive.once("error", (error) => stream.destroy(error));
      stream.once("close", () => archive.destroy());
      return archive.pipe(stream);
    },
    end,
  };
}

/** Of all claims but this one: those that are on record by now, or never will be, are let go of. */
function others(store: Store, claims: Set<Claimed>, own: Claimed): Claimed[] {
  for (const claim of claims) {
    const isRecorded = claim.artifactId !== undefined && store.get(keys.artifact(claim.artifactId)) !== undefined;
    if (isRecorded || performance.now() - (claim.endedMs ?? Number.POSITIVE_INFINITY) > RECORD_MS) claims.delete(claim);
  }
  return [...claims].filter((claim) => claim !== own);
}

function checkRoom(
  store: Store,
  quotas: Quotas,
  { appId, needBytes, others }: { appId: string; needBytes: number; others: readonly Claimed[] },
): void {
  // What a build has sent, and no artifact is made of yet, is in the registry as well.
  const sent = store
    .list<BuildRecord>(PREFIX.builds)
    .flatMap(({ value: { appId, product, ...build } }) =>
      product?.type === "image" && !hasEnded(build) && build.artifactId === undefined
        ? [{ appId, bytes: product.sizeBytes }]
        : [],
    );
  const recorded = store
    .list<Artifact>(PREFIX.artifacts)
    .map(({ value }) => ({ appId: value.appId, bytes: value.sizeBytes }));
  let own = 0;
  let all = 0;
  for (const image of [...recorded, ...sent, ...others]) {
    all += image.bytes;
    if (image.appId === appId) own += image.bytes;
  }
  const app = store.get<{ name: string }>(keys.app(appId))?.value.name ?? appId;
  if (quotas.imageBytes > 0 && quotas.imageBytes - all < Math.min(needBytes, quotas.appImageBytes - own + 1))
    throw new Fault(
      "no-capacity",
      `the images of all apps may be ${formatSize(quotas.imageBytes)} together and are ${formatSize(all)}: this one is too much. Delete an app (flynn -a APP delete), or have the limit raised: flynn up --image-limit 500GiB`,
    );
  if (quotas.appImageBytes - own < needBytes)
    throw new Fault(
      "too-large",
      `the images of ${app} may be ${formatSize(quotas.appImageBytes)} together and are ${formatSize(own)}: this one is too much. Images of releases beyond the last ten go by themselves; deploy smaller ones, or have the limit raised: flynn up --app-image-limit 100GiB`,
    );
}

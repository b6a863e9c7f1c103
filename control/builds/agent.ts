// The hosts' side of builds: what the host that a build's job is placed on may fetch and send. To any other there is no such build.
import { createReadStream } from "node:fs";
import { rename, rm, stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { type BuildResult, hasEnded } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import type { Job } from "#api/jobs.ts";
import { newId } from "#lib/ids.ts";
import type { Context } from "../context.ts";
import { claimImage } from "../disk/images.ts";
import { plainText } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Download } from "../mount.ts";
import type { Registry } from "../registry.ts";
import type { Entry } from "../store/entry.ts";
import type { BuildLogs } from "./build-log.ts";
import type { BuildFiles } from "./files.ts";
import { type BuildRecord, type Product, repositoryOf } from "./record.ts";
import { takeSlug } from "./slug.ts";

export interface BuildAgents {
  source(hostId: string, id: string): Promise<Download>;
  log(hostId: string, id: string, output: { offset: number; text: string }): Promise<{ offset: number }>;
  slug(hostId: string, id: string, sent: Readable, signal: AbortSignal): Promise<void>;
  image(hostId: string, id: string, sent: Readable, signal: AbortSignal): Promise<void>;
  result(hostId: string, id: string, result: BuildResult): Promise<void>;
}

const FOUND_MOST_BYTES = 64 * 1024;

export function buildAgents(
  { store, config }: Pick<Context, "store" | "config">,
  { images, logs, files }: { images: Registry; logs: BuildLogs; files: BuildFiles },
): BuildAgents {
  /** The build whose present job is on that host and not lost; a build that is being ended takes nothing any more. */
  const admit = (hostId: string, id: string): Entry<BuildRecord> => {
    const entry = store.list<BuildRecord>(PREFIX.builds).find(({ value }) => value.id === id);
    const job = entry?.value.jobId && store.get<Job>(keys.job(entry.value.appId, entry.value.jobId))?.value;
    const open = entry && !hasEnded(entry.value) && entry.value.ending === undefined;
    if (!entry || !open || !job || job.hostId !== hostId || job.state === "lost")
      throw new Fault("not-found", `no build ${id} on this host`);
    return entry;
  };
  const openForWork = (hostId: string, id: string): Entry<BuildRecord> => {
    const entry = admit(hostId, id);
    if (entry.value.result !== undefined) throw new Fault("conflict", `build ${id} has its result already`);
    return entry;
  };
  /** Read again: an upload takes its time, and the record moves on meanwhile. */
  const keep = async (hostId: string, id: string, changed: Partial<BuildRecord>): Promise<void> => {
    const { key, value, version } = openForWork(hostId, id);
    await store.commit({
      actor: "builder",
      expect: [{ key, version }],
      mutations: [{ key, value: { ...value, ...changed } }],
    });
  };
  const keepProduct = (hostId: string, id: string, product: Product) => keep(hostId, id, { product });

  return {
    async source(hostId, id) {
      const { value } = admit(hostId, id);
      const file = files.source(value.appId, value.id);
      const { size: sizeBytes } = await stat(file).catch((cause: unknown) => {
        throw new Fault("gone", "the source of the build is gone", { cause });
      });
      return { body: createReadStream(file), sizeBytes };
    },
    async log(hostId, id, { offset, text }) {
      const { value } = admit(hostId, id);
      return { offset: await logs.of(value.appId, value.id).receive(value.jobId!, offset, text) };
    },
    async slug(hostId, id, sent, signal) {
      const { value } = openForWork(hostId, id);
      if (value.kind !== "buildpacks") throw new Fault("invalid", `a build of kind ${value.kind} makes no slug`);
      const file = files.slug(value.appId, value.id);
      const part = `${file}.${newId("part")}`;
      const slug = await takeSlug(sent, { file: part, signal });
      try {
        openForWork(hostId, id);
        await rename(part, file);
      } finally {
        await rm(part, { force: true });
      }
      await keepProduct(hostId, id, slug);
    },
    async image(hostId, id, sent, signal) {
      const { value } = openForWork(hostId, id);
      if (value.kind === "buildpacks")
        throw new Fault("invalid", "a build of kind buildpacks sends a slug, not an image");
      const claim = claimImage(store, config, value.appId);
      try {
        const pushed = await images.push(claim.counted(sent), repositoryOf(value.appId), signal);
        await keepProduct(hostId, id, { type: "image", ...pushed });
      } finally {
        claim.end();
      }
    },
    async result(hostId, id, { exitCode, reason, detected, processes }) {
      const { value } = admit(hostId, id);
      if (value.result !== undefined) return; // told again: the answer was lost
      const fits = Buffer.byteLength(JSON.stringify(processes ?? {})) <= FOUND_MOST_BYTES;
      if (processes !== undefined && fits) await files.keepFound(value.appId, value.id, processes);
      await keep(hostId, id, {
        result: fits
          ? { exitCode, reason: plainText(reason, 1_000) }
          : { exitCode: exitCode || 1, reason: "the build names more process types than there may be" },
        ...(detected === undefined ? {} : { detected: plainText(detected, 200) }),
      });
    },
  };
}

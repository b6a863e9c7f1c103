// Images of the Docker on this machine, as `docker save` streams: never in memory or on disk.
import type { Readable } from "node:stream";
import { dockerHttp } from "./docker-http.ts";
import { Fault, isFault } from "./fault.ts";

/** Docker collects the layers before the first byte. */
const ANSWER_MS = 120_000;
const IMAGE = /^[a-zA-Z0-9][a-zA-Z0-9._/:@-]{0,254}$/;

/** What another than this machine's user names: nothing that a path of the API could be made of. */
export function checkImageName(image: string): void {
  if (IMAGE.test(image) && !image.includes("..")) return;
  throw new Fault("invalid", `${JSON.stringify(image)} is not an image name`, { details: { field: "image" } });
}

export interface SavedImage {
  archive: Readable;
  /** Its size as Docker counts layers: about that of the archive. */
  sizeBytes: number;
}

export interface LocalDocker {
  save(image: string, signal: AbortSignal): Promise<SavedImage>;
}

export function localDocker(socketPath: string): LocalDocker {
  const { call, open } = dockerHttp(socketPath, { version: "newest" });
  return {
    async save(image, signal) {
      const path = `/images/${encodeURIComponent(image)}`;
      const asked = { method: "GET", signal, timeoutMs: ANSWER_MS, doing: `save image ${image}` } as const;
      try {
        const { Size = 0 } = await call<{ Size?: number }>({ ...asked, path: `${path}/json` });
        return { archive: await open({ ...asked, path: `${path}/get`, silenceMs: 0 }), sizeBytes: Size };
      } catch (cause) {
        if (isFault(cause, "not-found"))
          throw new Fault("not-found", `the local Docker has no image ${image}; see \`docker images\``);
        if (!isFault(cause, "unavailable") && !isFault(cause, "timeout")) throw cause;
        const words = "start it, or give an archive instead: docker save NAME | flynn deploy --archive -";
        throw new Fault("unavailable", `the local Docker does not answer at ${socketPath}; ${words}`, { cause });
      }
    },
  };
}

// Images of the Docker on this machine, as `docker save` streams.
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { Fault } from "#api/fault.ts";
import { joined } from "#lib/time.ts";

export interface LocalDocker {
  /** GET /images/{name}/get of the Engine API, streamed. */
  save(image: string, signal: AbortSignal): Promise<Readable>;
}

const IMAGE = /^[a-zA-Z0-9][a-zA-Z0-9._/:@-]{0,254}$/;

export function localDocker(socketPath: string): LocalDocker {
  return {
    async save(image, signal) {
      if (!IMAGE.test(image))
        throw new Fault("invalid", `${JSON.stringify(image)} is not an image name`, { details: { field: "image" } });
      const req = request({ socketPath, path: `/v1.41/images/${encodeURIComponent(image)}/get`, signal });
      req.end();
      let reply: IncomingMessage;
      const either = joined(signal, AbortSignal.timeout(30_000));
      try {
        [reply] = (await once(req, "response", { signal: either.signal })) as [IncomingMessage];
      } catch (cause) {
        throw new Fault(
          "unavailable",
          `no Docker answers at ${socketPath}; start it, or upload an archive instead (flynn deploy --archive)`,
          { cause },
        );
      } finally {
        either.release();
      }
      if (reply.statusCode === 200) return reply;
      const said = await text(reply);
      throw new Fault(
        reply.statusCode === 404 ? "not-found" : "unavailable",
        reply.statusCode === 404 ? `the local Docker has no image ${image}` : `save ${image}: ${said.slice(0, 200)}`,
      );
    },
  };
}

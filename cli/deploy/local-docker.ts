// `docker save` from the local Docker by its unix socket: an archive as a stream, never in memory or on disk.
import { type IncomingMessage, request } from "node:http";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { Fault } from "#api/fault.ts";

const ANSWER_MS = 120_000; // Docker collects the layers before the first byte
const DEFAULT_SOCKET = "/var/run/docker.sock";

export interface SavedImage {
  archive: Readable;
  /** Its size as Docker counts layers: about that of the archive. */
  sizeBytes: number;
}

export async function saveImage(image: string, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<SavedImage> {
  const socketPath = socketOf(env);
  const name = encodeURIComponent(image);
  const inspected = JSON.parse(await text(await get(socketPath, `/images/${name}/json`, image, signal))) as {
    Size?: number;
  };
  const archive = await get(socketPath, `/images/${name}/get`, image, signal);
  return { archive, sizeBytes: inspected.Size ?? 0 };
}

export function socketOf(env: NodeJS.ProcessEnv): string {
  const host = env["DOCKER_HOST"];
  if (!host) return DEFAULT_SOCKET;
  if (!host.startsWith("unix://"))
    throw new Fault(
      "invalid",
      `DOCKER_HOST is ${host}; only unix:// sockets work here. Save the image to a file instead: docker save NAME | flynn deploy --archive -`,
    );
  return host.slice("unix://".length);
}

function get(socketPath: string, path: string, image: string, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const req = request({ socketPath, path, signal, timeout: ANSWER_MS }, (reply) => {
      req.setTimeout(0);
      if (reply.statusCode === 200) return resolve(reply);
      reply.resume();
      reject(
        reply.statusCode === 404
          ? new Fault("not-found", `the local Docker has no image ${image}; see \`docker images\``)
          : new Fault("unavailable", `the local Docker answers ${reply.statusCode} for image ${image}`),
      );
    });
    req.on("timeout", () => req.destroy(new Error(`no answer within ${ANSWER_MS / 1000} s`)));
    req.on("error", (cause) =>
      reject(new Fault("unavailable", `the local Docker does not answer at ${socketPath}`, { cause })),
    );
    req.end();
  });
}

// The registry's HTTP API (OCI distribution spec 1.1), as far as laying a layer on an image needs it. On loopback, with control's
// own certificate.
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { CONTROL_NAME } from "#api/client.ts";
import { Fault } from "#api/fault.ts";

export interface RegistryHttp {
  manifest(repository: string, digest: string, signal: AbortSignal): Promise<{ mediaType: string; body: unknown }>;
  blob(repository: string, digest: string, signal: AbortSignal): Promise<Buffer>;
  /** As it comes, of any size; nobody has compared it with its digest. */
  readBlob(repository: string, digest: string, signal: AbortSignal): Promise<AsyncIterable<Buffer>>;
  /** The blob is in `repository` afterwards; taken from `from` without moving a byte where the registry can. */
  mountBlob(repository: string, digest: string, from: string, signal: AbortSignal): Promise<void>;
  /** `content` is asked for only when the blob is not there yet. */
  putBlob(
    repository: string,
    blob: { digest: string; sizeBytes: number; content: () => Readable },
    signal: AbortSignal,
  ): Promise<void>;
  /** The manifest is gone afterwards, and every tag of it. Its layers stay until they are collected. */
  deleteManifest(repository: string, digest: string, signal: AbortSignal): Promise<void>;
  /** Returns its digest. */
  putManifest(repository: string, tag: string, mediaType: string, body: Buffer, signal: AbortSignal): Promise<string>;
}

const SILENCE_MS = 60_000;
const SMALL_MOST_BYTES = 4 * 1024 ** 2;
export const MANIFESTS = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
];

interface Asking {
  headers?: Record<string, string>;
  body?: Readable | Buffer;
  signal: AbortSignal;
}

export function registryHttp(options: {
  address: string;
  caPem: string;
  identity: () => { key: string; certificate: string };
}): RegistryHttp {
  const { address, caPem: ca, identity } = options;

  const ask = (method: string, path: string, { headers = {}, body, signal }: Asking): Promise<IncomingMessage> => {
    const { key, certificate: cert } = identity();
    const url = new URL(path, `https://${address}`);
    // The registry names itself in Location; what it names is asked where it is, and nowhere else.
    url.protocol = "https:";
    url.host = address;
    return new Promise((resolve, reject) => {
      const fail = (cause: unknown) =>
        reject(
          cause instanceof Fault
            ? cause
            : new Fault("unavailable", `the registry at ${address} does not answer`, { cause }),
        );
      const asked = request(url, { method, headers, ca, key, cert, servername: CONTROL_NAME, agent: false }, resolve);
      asked.setTimeout(SILENCE_MS, () => asked.destroy(new Error("no answer")));
      asked.on("error", fail);
      const cancel = () => asked.destroy(new Error("cancelled", { cause: signal.reason }));
      if (signal.aborted) cancel();
      signal.addEventListener("abort", cancel, { once: true });
      asked.once("close", () => signal.removeEventListener("abort", cancel));
      if (body === undefined || Buffer.isBuffer(body)) asked.end(body);
      else pipeline(body, asked).catch(fail);
    });
  };
  const small = async (reply: IncomingMessage, doing: string): Promise<Buffer> => {
    if (Number(reply.headers["content-length"] ?? 0) > SMALL_MOST_BYTES) {
      reply.destroy();
      throw new Fault("invalid", `${doing}: larger than it may be`);
    }
    return buffer(reply).catch((cause: unknown) => {
      throw new Fault("unavailable", `${doing} broke off`, { cause });
    });
  };
  const expect = async (reply: IncomingMessage, statuses: number[], doing: string): Promise<Buffer> => {
    const body = await small(reply, doing);
    if (statuses.includes(reply.statusCode ?? 0)) return body;
    throw new Fault(
      (reply.statusCode ?? 500) >= 500 ? "unavailable" : "invalid",
      `${doing}: the registry answers ${reply.statusCode}`,
      { details: { said: body.toString("utf8").slice(0, 400) } },
    );
  };
  const has = async (repository: string, digest: string, signal: AbortSignal): Promise<boolean> => {
    const reply = await ask("HEAD", `/v2/${repository}/blobs/${digest}`, { signal });
    reply.resume();
    return reply.statusCode === 200;
  };
  const upload = async (
    place: string | undefined,
    digest: string,
    content: Readable,
    sizeBytes: number,
    signal: AbortSignal,
  ) => {
    if (place === undefined) throw new Fault("invalid", "the registry names no place for an upload");
    const url = new URL(place, `https://${address}`);
    url.searchParams.set("digest", digest);
    const headers = { "content-type": "application/octet-stream", "content-length": String(sizeBytes) };
    const reply = await ask("PUT", `${url.pathname}${url.search}`, { headers, body: content, signal });
    await expect(reply, [201, 204], `store ${digest.slice(0, 19)}`);
  };

  return {
    async manifest(repository, digest, signal) {
      const doing = `read image ${repository}@${digest.slice(0, 19)}`;
      const reply = await ask("GET", `/v2/${repository}/manifests/${digest}`, {
        headers: { accept: MANIFESTS.join(", ") },
        signal,
      });
      const body = await expect(reply, [200], doing);
      return {
        mediaType: String(reply.headers["content-type"] ?? ""),
        body: JSON.parse(body.toString("utf8")) as unknown,
      };
    },
    async blob(repository, digest, signal) {
      const doing = `read ${digest.slice(0, 19)} of ${repository}`;
      const body = await expect(await ask("GET", `/v2/${repository}/blobs/${digest}`, { signal }), [200], doing);
      if (`sha256:${createHash("sha256").update(body).digest("hex")}` !== digest)
        throw new Fault("invalid", `${doing}: it is not what its digest says`);
      return body;
    },
    async readBlob(repository, digest, signal) {
      const reply = await ask("GET", `/v2/${repository}/blobs/${digest}`, { signal });
      if (reply.statusCode !== 200) await expect(reply, [200], `read ${digest.slice(0, 19)} of ${repository}`);
      return reply as AsyncIterable<Buffer>;
    },
    async mountBlob(repository, digest, from, signal) {
      const path = `/v2/${repository}/blobs/uploads/?mount=${digest}&from=${encodeURIComponent(from)}`;
      const reply = await ask("POST", path, { signal });
      await expect(reply, [201, 202], `mount ${digest.slice(0, 19)}`);
      if (reply.statusCode === 201) return;
      // It cannot mount: the bytes go through here, once.
      const there = await ask("GET", `/v2/${from}/blobs/${digest}`, { signal });
      if (there.statusCode !== 200) await expect(there, [200], `read ${digest.slice(0, 19)} of ${from}`);
      await upload(reply.headers.location, digest, there, Number(there.headers["content-length"]), signal);
    },
    async putBlob(repository, { digest, sizeBytes, content }, signal) {
      if (await has(repository, digest, signal)) return;
      const reply = await ask("POST", `/v2/${repository}/blobs/uploads/`, { signal });
      await expect(reply, [202], "begin an upload");
      await upload(reply.headers.location, digest, content(), sizeBytes, signal);
    },
    async deleteManifest(repository, digest, signal) {
      const reply = await ask("DELETE", `/v2/${repository}/manifests/${digest}`, { signal });
      await expect(reply, [202, 404], `remove image ${repository}@${digest.slice(0, 19)}`);
    },
    async putManifest(repository, tag, mediaType, body, signal) {
      const headers = { "content-type": mediaType, "content-length": String(body.length) };
      const reply = await ask("PUT", `/v2/${repository}/manifests/${tag}`, { headers, body, signal });
      await expect(reply, [201], `store the image in ${repository}`);
      return `sha256:${createHash("sha256").update(body).digest("hex")}`;
    },
  };
}

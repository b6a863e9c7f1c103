// The registry as a build's host writes to it: Docker's own push (OCI distribution spec 1.1), of the image of a build that is on that
// host, into that app's repository and under the build's name alone. Layers that are there are not sent again. Each layer is looked
// through on its way, and the image is on the build's record before the push is answered.
import type { IncomingMessage, ServerResponse } from "node:http";
import { request } from "node:https";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Fault, isFault } from "#api/fault.ts";
import { formatSize } from "#lib/units.ts";
import type { TlsIdentity } from "./api-server.ts";
import type { Context } from "./context.ts";
import { claimImage, type ImageClaim } from "./disk/images.ts";
import { checkImageConfig } from "./image-config.ts";
import { mayPull } from "./pull-rights.ts";
import type { PushRight } from "./push-rights.ts";
import type { OwnRegistry } from "./registry.ts";
import { blobCount, IMAGE_LIMITS, type ImageLimits } from "./registry-archive.ts";
import { type RegistryHttp, registryHttp } from "./registry-http.ts";
import { agentOf, picked, SILENCE_MS } from "./registry-upstream.ts";
import { readManifest, type Write } from "./registry-writes.ts";

export interface RegistryPushes {
  /** A host that builds for the app asks what is there: from now on nothing of it is collected. */
  touch(hostId: string, repository: string): Promise<void>;
  answer(hostId: string, write: Write, req: IncomingMessage, res: ServerResponse): Promise<void>;
  useIdentity(identity: TlsIdentity): void;
  close(): void;
}

export interface RegistryPushesOptions extends Pick<Context, "store" | "jobs" | "config" | "room"> {
  /** host:port of the registry that is written to. */
  upstream: string;
  identity: TlsIdentity;
  caPem: string;
  images: Pick<OwnRegistry, "hold" | "arrived">;
  rights: PushRight;
  architectures?: readonly string[];
  limits?: ImageLimits;
  /** A push that is silent for so long is over. */
  idleMs?: number;
}

const SOCKETS = { most: 64, mostFree: 4 };
const MANIFEST_MOST_BYTES = 4 << 20;
/** Layers whose weight is remembered; any other is read once more. */
const WEIGHTS_MOST = 20_000;
const PASSED_ON = ["content-type", "content-length", "content-range", "transfer-encoding"] as const;
const PASSED_BACK = ["content-length", "docker-content-digest", "docker-upload-uuid", "range"] as const;

/** What one layer weighs: as it lies in the registry, and unpacked. */
interface Weight {
  sentBytes: number;
  unpackedBytes: number;
  entries: number;
}

interface Session {
  claim: ImageClaim;
  release: () => void;
  timer: NodeJS.Timeout;
  /** Of what came in by uploads that are not ended, by their path. */
  coming: Map<string, Weight>;
  requests: number;
}

export function registryPushes(options: RegistryPushesOptions): RegistryPushes {
  const { store, jobs, config, room, upstream, caPem, images, rights } = options;
  const { architectures, limits = IMAGE_LIMITS, idleMs = 120_000 } = options;
  let shown = options.identity;
  let agent = agentOf(shown, caPem, SOCKETS);
  const http: RegistryHttp = registryHttp({ address: upstream, caPem, identity: () => shown });
  const weights = new Map<string, Weight>();
  const sessions = new Map<string, Promise<Session>>();

  const endSession = (buildId: string, session: Session): void => {
    sessions.delete(buildId);
    clearTimeout(session.timer);
    session.claim.end();
    session.release();
  };
  const sessionOf = ({ id, appId }: { id: string; appId: string }): Promise<Session> => {
    const known = sessions.get(id);
    if (known !== undefined) return known;
    const begun = images.hold().then((release) => {
      try {
        const session: Session = {
          ...{ claim: claimImage(store, config, appId), release, coming: new Map(), requests: 0 },
          timer: setTimeout(() => session.requests === 0 && endSession(id, session), idleMs),
        };
        return session;
      } catch (error) {
        release();
        throw error;
      }
    });
    begun.catch(() => sessions.delete(id));
    sessions.set(id, begun);
    return begun;
  };
  /** As long as a request is under way, its push is not over. */
  const within = async <T>(
    build: { id: string; appId: string },
    work: (session: Session) => Promise<T>,
  ): Promise<T> => {
    const session = await sessionOf(build);
    session.requests++;
    try {
      return await work(session);
    } finally {
      session.requests--;
      session.timer.refresh();
    }
  };

  const open = (req: IncomingMessage, url: string, body: Readable | undefined, res: ServerResponse) =>
    new Promise<IncomingMessage>((resolve, reject) => {
      const headers = picked(req.headers, PASSED_ON);
      const asked = request(
        `https://${upstream}${url}`,
        { method: req.method, headers, agent, timeout: SILENCE_MS },
        resolve,
      );
      const fail = (cause: unknown) =>
        reject(isFault(cause) ? cause : new Fault("unavailable", "the registry does not answer", { cause }));
      asked.on("timeout", () => asked.destroy(new Error("the registry is silent")));
      asked.on("error", fail);
      res.once("close", () => res.writableFinished || asked.destroy());
      if (body === undefined) asked.end();
      else pipeline(body, asked).catch(fail);
    });

  const passBack = async (reply: IncomingMessage, res: ServerResponse): Promise<void> => {
    const { location } = reply.headers;
    const at = location === undefined ? undefined : new URL(location, `https://${upstream}`);
    // The registry names itself; whoever pushes is to ask here.
    res.writeHead(reply.statusCode ?? 502, {
      ...picked(reply.headers, PASSED_BACK),
      ...(at === undefined ? {} : { location: `${at.pathname}${at.search}` }),
    });
    await pipeline(reply, res);
  };

  const begin = (
    hostId: string,
    { repository, mount }: Write & { type: "begin" },
    req: IncomingMessage,
    res: ServerResponse,
  ) => {
    const may =
      mount !== undefined && (mayPull(hostId, mount.from, { store, jobs }) || rights.hasBuilt(hostId, mount.from));
    const query = may ? `?mount=${mount.digest}&from=${encodeURIComponent(mount.from)}` : "";
    return open(req, `/v2/${repository}/blobs/uploads/${query}`, undefined, res).then((reply) => passBack(reply, res));
  };

  const upload = async (
    session: Session,
    { digest }: Write & { type: "upload" },
    req: IncomingMessage,
    res: ServerResponse,
  ): Promise<void> => {
    const url = req.url ?? "";
    const place = url.split("?")[0]!;
    if (req.method === "DELETE") {
      session.coming.delete(place);
      return passBack(await open(req, url, undefined, res), res);
    }
    const before = session.coming.get(place);
    const count = blobCount(limits);
    let sentBytes = 0;
    // The registry may answer at its last byte: sound it is when all of it was looked through.
    const sound = Promise.withResolvers<void>();
    sound.promise.catch(() => undefined);
    const looked = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        sentBytes += chunk.length;
        count.write(chunk).then(() => done(null, chunk), done);
      },
      flush: (done) =>
        void count.end().then(() => {
          sound.resolve();
          done();
        }, done),
    });
    pipeline(session.claim.counted(req), looked).catch((cause: unknown) => {
      looked.destroy(cause as Error);
      sound.reject(cause);
    });
    const until = new AbortController();
    const reply = await room.filling(until.signal, (both) => {
      both.addEventListener("abort", () => looked.destroy(both.reason as Error), { once: true });
      return open(req, url, looked, res);
    });
    await sound.promise.catch((cause: unknown) => {
      reply.destroy();
      throw cause;
    });
    if ((reply.statusCode ?? 500) < 300 && sentBytes > 0) {
      // One layer comes in one piece: of a second nobody could say what it unpacks to.
      if (before !== undefined) {
        reply.resume();
        throw new Fault("invalid", "a layer is to come in one piece");
      }
      session.coming.set(place, { sentBytes, ...count.totals() });
    }
    if (digest !== undefined && reply.statusCode === 201) {
      const weight = session.coming.get(place);
      session.coming.delete(place);
      if (weight !== undefined) remember(digest, weight);
    }
    await passBack(reply, res);
  };

  const remember = (digest: string, weight: Weight): void => {
    weights.delete(digest);
    weights.set(digest, weight);
    for (const oldest of weights.keys()) {
      if (weights.size <= WEIGHTS_MOST) break;
      weights.delete(oldest);
    }
  };

  /** A layer that was there before is read once: what it unpacks to is not on record. */
  const weightOf = async (repository: string, digest: string, signal: AbortSignal): Promise<Weight> => {
    const known = weights.get(digest);
    if (known !== undefined) return known;
    const count = blobCount(limits);
    let sentBytes = 0;
    for await (const chunk of await http.readBlob(repository, digest, signal)) {
      sentBytes += chunk.length;
      await count.write(chunk);
    }
    await count.end();
    const weight = { sentBytes, ...count.totals() };
    remember(digest, weight);
    return weight;
  };

  const manifest = async (
    build: { id: string; appId: string },
    hostId: string,
    { repository, tag }: Write & { type: "manifest" },
    req: IncomingMessage,
    res: ServerResponse,
  ): Promise<void> => {
    if (tag !== build.id) throw new Fault("forbidden", `the image of build ${build.id} is pushed under its own name`);
    const signal = AbortSignal.timeout(600_000);
    const body = await bounded(req, MANIFEST_MOST_BYTES);
    const { mediaType, config: configDigest, layers } = readManifest(body, req.headers["content-type"]);
    const total: Weight = { sentBytes: 0, unpackedBytes: 0, entries: 0 };
    for (const digest of layers) {
      const weight = await weightOf(repository, digest, signal);
      for (const key of ["sentBytes", "unpackedBytes", "entries"] as const) total[key] += weight[key];
    }
    if (total.unpackedBytes > limits.unpackedBytes)
      throw new Fault("too-large", `the image is larger than ${formatSize(limits.unpackedBytes)} unpacked`);
    if (total.entries > limits.entries)
      throw new Fault("too-large", `the image has more than ${limits.entries} files, the most there may be`);
    const text = (await http.blob(repository, configDigest, signal)).toString("utf8");
    const architecture = checkImageConfig(text, architectures);
    const sizeBytes = total.sentBytes + body.length + Buffer.byteLength(text);
    // An app's right does not depend on what others have: what was there already counts too.
    const whole = claimImage(store, config, build.appId);
    try {
      whole.add(sizeBytes);
      const digest = await http.putManifest(repository, tag, mediaType, body, signal);
      images.arrived(digest);
      await rights.keep(hostId, build, { digest, sizeBytes, architecture });
      res.writeHead(201, {
        "docker-content-digest": digest,
        location: `/v2/${repository}/manifests/${digest}`,
        "content-length": 0,
      });
      res.end();
    } finally {
      whole.end();
    }
  };

  return {
    async touch(hostId, repository) {
      const build = rights.open(hostId, repository);
      if (build !== undefined) await within(build, async () => undefined);
    },
    async answer(hostId, write, req, res) {
      const build = rights.open(hostId, write.repository);
      if (build === undefined)
        throw new Fault("forbidden", "here images are read, and written by the host of a build alone");
      await within(build, async (session) => {
        if (write.type === "begin") return begin(hostId, write, req, res);
        if (write.type === "upload") return upload(session, write, req, res);
        // What was claimed byte by byte is claimed as a whole now.
        session.claim.end();
        await manifest(build, hostId, write, req, res);
        endSession(build.id, session);
      });
    },
    useIdentity(next) {
      shown = next;
      agent = agentOf(shown, caPem, SOCKETS);
    },
    close() {
      for (const [id, session] of sessions) session.then((one) => endSession(id, one)).catch(() => undefined);
      agent.destroy();
    },
  };
}

async function bounded(body: AsyncIterable<Buffer>, mostBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > mostBytes) throw new Fault("too-large", "the image's manifest is larger than it may be");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

// Into the built-in registry: a `docker save` archive is taken in and looked through, and copied by skopeo. The registry
// takes writes only on loopback and only from control's own certificate.
import { mkdir, open, readFile, rm } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { CONTROL_NAME } from "#api/client.ts";
import { Fault, isFault } from "#api/fault.ts";
import { ExecError, exec } from "#lib/exec.ts";
import { writeFileAtomic } from "#lib/files.ts";
import { newId } from "#lib/ids.ts";
import type { Log } from "#lib/log.ts";
import { ARCHITECTURES, checkImageConfig } from "./image-config.ts";
import { IMAGE_LIMITS, type ImageLimits, takeImageArchive } from "./registry-archive.ts";
import { registryGate } from "./registry-gate.ts";
import { registryHttp } from "./registry-http.ts";
import { type LaidImage, type LayerRequest, layOn } from "./registry-layer.ts";
import { unlessFull } from "./store/paused.ts";

export interface Registry {
  /** Stores the archive's one image as `repository`; returns its digest. Faults `invalid` on a broken or foreign image; that of the archive's stream. */
  push(
    archive: Readable,
    repository: string,
    signal: AbortSignal,
  ): Promise<{ digest: string; sizeBytes: number; architecture: string }>;
  /** Lays a layer on an image that is in the registry; returns the new image. */
  layOn(requested: LayerRequest, signal: AbortSignal): Promise<LaidImage>;
  /** Takes an image out; false, and nothing was done, while something is copied in or when it came in lately. */
  remove(repository: string, digest: string, signal: AbortSignal): Promise<boolean>;
  /** Deletes layers that no image uses; false, and nothing was done, while something is copied in or it is not set up for it. */
  collect(signal: AbortSignal): Promise<boolean>;
  /** Undefined when the registry answers, else why not. */
  problem(): Promise<string | undefined>;
}

/** The registry with what control's own start and renewal need. */
export interface OwnRegistry extends Registry {
  /** Nothing is collected until it is let go of. */
  hold(): Promise<() => void>;
  /** An image came in beside `push`: it is not removed for a while. */
  arrived(digest: string): void;
  /** Shown to the registry from now on. */
  useIdentity(identity: RegistryOptions["identity"]): Promise<void>;
}

export interface RegistryOptions {
  /** host:port of the writable registry. */
  address: string;
  /** Where uploads wait and certificates lie. */
  directory: string;
  identity: { key: string; certificate: string };
  caPem: string;
  /** Hosts there can be, as images name them. */
  architectures?: readonly string[];
  /** Hosts there are. Of an archive with an image for each, the one for the first of them is taken; for this machine, if there are none. */
  preferred?: () => readonly string[];
  imageLimits?: ImageLimits;
  /** The registry's own directory; empty or left out: layers are never collected. */
  layersDirectory?: string;
  /** An image that came in is not removed for so long: its artifact may not be on record yet. */
  restMs?: number;
  /** Given at a start, which a full disk does not keep from happening. */
  log?: Log;
}

const COLLECT_TIMEOUT_MS = 600_000;

const COPY_TIMEOUT_MS = 600_000;
const PROBE_TIMEOUT_MS = 3_000;

export async function registry(options: RegistryOptions): Promise<OwnRegistry> {
  const { address, directory, caPem, architectures = ARCHITECTURES, imageLimits = IMAGE_LIMITS } = options;
  const { layersDirectory = "", restMs = 3_600_000 } = options;
  const certificates = join(directory, "certs");
  const uploads = join(directory, "uploads");
  await rm(uploads, { recursive: true, force: true }); // what a crash left half uploaded
  await mkdir(uploads, { recursive: true, mode: 0o700 });
  let { identity } = options;
  const useIdentity = async (next: RegistryOptions["identity"]): Promise<void> => {
    identity = next;
    await writeFileAtomic(join(certificates, "client.key"), identity.key, { mode: 0o600 });
    await writeFileAtomic(join(certificates, "client.cert"), identity.certificate);
  };
  const first = async () => {
    await writeFileAtomic(join(certificates, "ca.crt"), caPem);
    await useIdentity(identity);
  };
  if (options.log === undefined) await first();
  else await unlessFull(options.log, "the registry client's certificate", first());
  const gate = registryGate();
  const arrivals = recentArrivals(restMs);
  const http = registryHttp({ address, caPem, identity: () => identity });

  const skopeo = async (args: string[], doing: string, signal?: AbortSignal): Promise<string> => {
    try {
      return (await exec(["skopeo", ...args], { timeoutMs: COPY_TIMEOUT_MS, signal })).stdout;
    } catch (error) {
      const missing =
        error instanceof ExecError && (error.cause as NodeJS.ErrnoException | undefined)?.code === "ENOENT";
      if (missing) throw new Fault("unavailable", "skopeo is not installed; apt-get install skopeo");
      const said = error instanceof ExecError ? lastWords(error.stderr) : String(error);
      const network = /connection refused|no such host|i\/o timeout|dial tcp/i.test(said);
      throw network
        ? new Fault("unavailable", `the registry at ${address} does not answer`, { details: { said } })
        : new Fault("invalid", `${doing}: ${said}`);
    }
  };

  return {
    async push(archive, repository, signal) {
      // Everything of an upload lies in one directory, what skopeo unpacks too: counted with the state, gone with the upload.
      const place = join(uploads, newId("upload"));
      const [file, digestFile, temporary] = [join(place, "image.tar"), join(place, "digest"), join(place, "tmp")];
      const target = `docker://${address}/${repository}:${newId("t")}`;
      try {
        await mkdir(temporary, { recursive: true, mode: 0o700 });
        const { sizeBytes } = await takeImageArchive(archive, { file, signal, limits: imageLimits });
        const own = ["--tmpdir", temporary];
        const [first] = options.preferred?.() ?? [];
        let pick = first === undefined ? [] : ["--override-arch", first];
        const inspected = (transport: string) =>
          skopeo(
            [...own, ...pick, "inspect", "--config", `${transport}:${file}`],
            "the archive is not a sound `docker save` image",
            signal,
          );
        // Layers of an OCI layout go into the registry as they are; those of `docker save` are packed anew. What is neither is told
        // as what most send.
        let transport = (await firstEntry(file)) === "oci-layout" ? "oci-archive" : "docker-archive";
        const text = await inspected(transport).catch(async (error: unknown) => {
          // An index without an image for the first of them may have one for others.
          for (const one of transport === "oci-archive" ? architectures : []) {
            pick = ["--override-arch", one];
            const found = await inspected(transport).catch(() => undefined);
            if (found !== undefined) return found;
          }
          if (isFault(error) && /no image found in .*index/.test(error.message))
            throw new Fault("invalid", `the archive has no image for linux/${architectures.join(" or linux/")}`);
          pick = [];
          transport = transport === "oci-archive" ? "docker-archive" : "oci-archive";
          return inspected(transport).catch(() => Promise.reject(error));
        });
        const architecture = checkImageConfig(text, architectures);
        await gate.copying(async () => {
          await skopeo(
            [
              ...own,
              ...pick,
              "copy",
              "--dest-cert-dir",
              certificates,
              "--digestfile",
              digestFile,
              `${transport}:${file}`,
              target,
            ],
            "the archive could not be copied into the registry",
            signal,
          );
          arrivals.add((await readFile(digestFile, "utf8")).trim());
        });
        return { digest: (await readFile(digestFile, "utf8")).trim(), sizeBytes, architecture };
      } finally {
        await rm(place, { recursive: true, force: true });
      }
    },
    layOn: (requested, signal) =>
      gate.copying(async () => {
        const laid = await layOn(http, requested, signal);
        arrivals.add(laid.digest);
        return laid;
      }),
    async remove(repository, digest, signal) {
      const removing = () => http.deleteManifest(repository, digest, signal).then(() => true);
      return (await gate.cleaning(async () => (arrivals.has(digest) ? false : removing()))) ?? false;
    },
    async collect(signal) {
      if (layersDirectory === "") return false;
      return (await gate.cleaning(() => collectLayers(directory, layersDirectory, signal))) ?? false;
    },
    problem: () => probe(address, identity, caPem),
    useIdentity,
    async hold() {
      const { promise: held, resolve: release } = Promise.withResolvers<void>();
      const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
      void gate.copying(() => {
        begin();
        return held;
      });
      await begun;
      return release;
    },
    arrived: arrivals.add,
  };
}

/** Name of a tar archive's first entry (POSIX ustar: the first 100 bytes). */
async function firstEntry(file: string): Promise<string> {
  const handle = await open(file);
  try {
    const { buffer } = await handle.read(Buffer.alloc(100), 0, 100, 0);
    return buffer.toString("latin1").replace(/\0.*$/s, "").replace(/^\.\//, "");
  } finally {
    await handle.close();
  }
}

/** Digests that came in lately: their artifact may not be on record yet. */
function recentArrivals(lifeMs: number): { add(digest: string): void; has(digest: string): boolean } {
  const atMs = new Map<string, number>();
  return {
    add(digest) {
      for (const [known, since] of atMs) if (performance.now() - since > lifeMs) atMs.delete(known);
      atMs.set(digest, performance.now());
    },
    has: (digest) => performance.now() - (atMs.get(digest) ?? Number.NEGATIVE_INFINITY) < lifeMs,
  };
}

/** The registry's own collector, on its directory. Nobody else writes there: copies wait meanwhile, readers are not disturbed. */
async function collectLayers(directory: string, layersDirectory: string, signal: AbortSignal): Promise<boolean> {
  const config = join(directory, "collect.yml");
  const settings = { version: "0.1", storage: { filesystem: { rootdirectory: layersDirectory } } };
  await writeFileAtomic(config, JSON.stringify(settings));
  await exec(["docker-registry", "garbage-collect", config], { timeoutMs: COLLECT_TIMEOUT_MS, signal });
  return true;
}

/** GET /v2/ with control's certificate: undefined on 200, else why not. */
function probe(address: string, identity: RegistryOptions["identity"], caPem: string): Promise<string | undefined> {
  const { key, certificate: cert } = identity;
  return new Promise((resolve) => {
    const tls = { ca: caPem, key, cert, servername: CONTROL_NAME, timeout: PROBE_TIMEOUT_MS };
    const asked = request(`https://${address}/v2/`, { ...tls, agent: false }, (reply) => {
      reply.resume();
      resolve(reply.statusCode === 200 ? undefined : `the registry at ${address} answers ${reply.statusCode}`);
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer")));
    asked.on("error", (error) => resolve(`the registry at ${address} does not answer: ${error.message}`));
    asked.end();
  });
}

/** The end of what skopeo says: `time=... level=fatal msg="..."` without the decoration. */
function lastWords(stderr: string): string {
  const line = stderr.trim().split("\n").at(-1) ?? "";
  const said = /msg="((?:[^"\\]|\\.)*)"/.exec(line)?.[1]?.replaceAll('\\"', '"') ?? line;
  // Paths of this machine and skopeo's own names for places say nothing to a caller.
  return said
    .replace(/(?:docker-archive|docker|oci):\S*?\/[^\s":]*/g, "the image")
    .replace(/^Error parsing image name "the image[^"]*": /, "")
    .slice(0, 400);
}

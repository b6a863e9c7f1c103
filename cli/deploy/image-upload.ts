// An image into the cluster's registry, from the local Docker or a `docker save` file: streamed, with its progress shown.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { type Artifact, createArtifact } from "#api/artifacts.ts";
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { localDocker } from "#api/local-docker.ts";
import { counting, progress } from "../output/progress.ts";
import type { Cli } from "../parse/command.ts";
import { socketOf } from "./local-docker.ts";

/** Silence of the server after the last byte: it copies the image into its registry then. */
const STORE_MS = 30 * 60_000;

export interface ImageSource {
  archive: Readable;
  name: string;
  sizeBytes: number;
}

export async function archiveFile(file: string): Promise<ImageSource> {
  if (file === "-") return { archive: process.stdin, name: "stdin", sizeBytes: 0 };
  const sizeBytes = await checkFile(file);
  return { archive: createReadStream(file), name: file.replaceAll(/[^\x20-\x7e]/g, "?"), sizeBytes };
}

export async function localImage(image: string, { env, signal }: Cli): Promise<ImageSource> {
  return { name: image, ...(await localDocker(socketOf(env)).save(image, signal)) };
}

/** A file where there is one of that name, else an image of the local Docker. */
export async function imageOrFile(given: string, cli: Cli): Promise<ImageSource> {
  const isFile =
    given === "-" ||
    (await stat(given).then(
      (found) => found.isFile(),
      () => false,
    ));
  return isFile ? archiveFile(given) : localImage(given, cli);
}

export async function checkFile(file: string): Promise<number> {
  const found = await stat(file).catch((cause: unknown) => {
    throw new Fault("invalid", `read archive ${file}`, { cause });
  });
  if (!found.isFile()) throw new Fault("invalid", `archive ${file} is not a file`);
  return found.size;
}

export async function uploadImage(
  client: Client,
  app: string,
  { archive, name, sizeBytes }: ImageSource,
  cli: Cli,
): Promise<Artifact> {
  const shown = progress(cli);
  const counted = counting(shown, {
    what: `uploading ${name}`,
    totalBytes: sizeBytes || undefined,
    after: "the cluster puts it into its registry",
  });
  archive.on("error", (error) => counted.destroy(error));
  try {
    return await client.call(createArtifact, {
      query: { app, source: name.slice(-200) },
      upload: archive.pipe(counted),
      timeoutMs: STORE_MS,
      signal: cli.signal,
    });
  } finally {
    shown.end();
    archive.destroy();
  }
}

// Tar archives in and out of a build's container.
import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { extract, type Header, pack } from "tar-stream";
import type { BuildSpec } from "#api/builds.ts";
import { BuildFailure } from "./failure.ts";

const BUILDER = { uid: 1000, gid: 1000, mtime: new Date(0) } as const;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** What a builder is given: /in/source.tar, /in/build.json, one file per variable in /in/env, and an empty /out. */
export function builderInput(
  build: Pick<BuildSpec, "app" | "id" | "commit" | "buildpacks" | "env" | "source">,
  stack: string,
  sourceFile: string,
): Readable {
  const { app, id, commit, buildpacks, env, source } = build;
  return packEntries(async (add) => {
    const folder = (name: string) => add({ ...BUILDER, name, type: "directory", mode: 0o755 });
    const file = (name: string, mode: number, content: string) => add({ ...BUILDER, name, mode }, content);
    await folder("in");
    await folder("in/env");
    await folder("out");
    await file("in/build.json", 0o644, JSON.stringify({ app, build: id, commit, stack, buildpacks }));
    for (const [name, value] of Object.entries(env))
      if (ENV_NAME.test(name)) await file(`in/env/${name}`, 0o600, value);
    await add({ ...BUILDER, name: "in/source.tar", mode: 0o644, size: source.sizeBytes }, createReadStream(sourceFile));
  });
}

export type EntryHeader = Partial<Header> & Pick<Header, "name">;
export type AddEntry = (header: EntryHeader, content?: string | Buffer | AsyncIterable<Buffer>) => Promise<void>;

/** The archive that `write` fills; an error of it is the stream's. */
export function packEntries(write: (add: AddEntry) => Promise<void>): Readable {
  const archive = pack();
  const add: AddEntry = async (header, content = "") => {
    if (typeof content === "string" || Buffer.isBuffer(content)) {
      archive.entry(header, content);
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const entry = archive.entry(header, (error) => (error ? reject(error) : resolve()));
    promise.catch(() => undefined); // heard below, or the stream is gone already
    for await (const chunk of content) {
      if (!entry.write(chunk)) await drained(entry as unknown as NodeJS.WritableStream);
    }
    (entry as unknown as NodeJS.WritableStream).end();
    await promise;
  };
  write(add).then(
    () => archive.finalize(),
    (error: Error) => (archive as unknown as { destroy(error: Error): void }).destroy(error),
  );
  return Readable.from(archive as AsyncIterable<Buffer>, { objectMode: false });
}

const drained = (stream: NodeJS.WritableStream): Promise<void> =>
  new Promise((resolve, reject) => {
    const done = (error?: unknown) => {
      for (const event of ["drain", "close", "error"]) stream.removeListener(event, done);
      return error instanceof Error ? reject(error) : resolve();
    };
    for (const event of ["drain", "close", "error"]) stream.once(event, done);
  });

/** The one plain file of an archive as Docker gives a container's path; its size is checked before a byte is read. */
export async function singleFile(
  archive: Readable,
  { what, maxBytes }: { what: string; maxBytes: number },
): Promise<{ sizeBytes: number; body: Readable }> {
  const reader = extract();
  archive.on("error", (error) => reader.destroy(error));
  archive.pipe(reader as unknown as NodeJS.WritableStream);
  const entries = reader[Symbol.asyncIterator]();
  const first = await entries.next();
  const entry = first.done ? undefined : first.value;
  const refuse = (why: string): never => {
    archive.destroy();
    reader.destroy();
    throw new BuildFailure(`${what} ${why}`);
  };
  if (entry === undefined) return refuse("is missing");
  const { type, size = 0 } = entry.header;
  if (type !== "file" && type !== "contiguous-file") return refuse("is no plain file");
  if (size > maxBytes) return refuse(`is larger than ${Math.floor(maxBytes / 1024 ** 2)} MiB`);
  const content = async function* (): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of entry) yield chunk as Buffer;
    } finally {
      archive.destroy();
      reader.destroy();
    }
  };
  return { sizeBytes: size, body: Readable.from(content(), { objectMode: false }) };
}

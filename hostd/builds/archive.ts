// Tar archives in and out of a build's container.
import { Readable } from "node:stream";
import { extract, type Header, pack } from "tar-stream";
import { BuildFailure } from "./failure.ts";

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
    // An archive that breaks off within an entry ends both; the reader hears it from the archive.
    (entry as unknown as NodeJS.WritableStream).on("error", () => undefined);
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

// The context of a Docker build out of the spooled source: what .dockerignore leaves, and the Dockerfile as it is to be built.
import { createReadStream } from "node:fs";
import { posix } from "node:path";
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import dockerignore from "@balena/dockerignore";
import { extract, type Header } from "tar-stream";
import { packEntries } from "./archive.ts";
import { BuildFailure } from "./failure.ts";

const MAX_TEXT_BYTES = 1 << 20;
const KINDS: readonly (Header["type"] | null | undefined)[] = [
  "file",
  "contiguous-file",
  "directory",
  "symlink",
  "link",
];

type Source = AsyncIterable<Buffer> & { header: Header };

export const cleanPath = (name: string): string => posix.normalize(`/${name}`).slice(1).replace(/\/$/, "");

/** Entries of the spooled source, in order. */
export async function* entries(file: string): AsyncGenerator<Source> {
  const reader = extract();
  const input = createReadStream(file);
  input.on("error", (error) => (reader as unknown as { destroy(error: Error): void }).destroy(error));
  input.pipe(reader as unknown as NodeJS.WritableStream);
  try {
    yield* reader as unknown as AsyncIterable<Source>;
  } finally {
    input.destroy();
  }
}

/** The texts of these files, as far as the source has them. */
export async function readSource(file: string, paths: readonly string[]): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for await (const entry of entries(file)) {
    const path = cleanPath(entry.header.name);
    if (!paths.includes(path)) {
      for await (const _ of entry);
      continue;
    }
    if (entry.header.type !== "file") throw new BuildFailure(`${path} is no plain file`);
    if (entry.header.size > MAX_TEXT_BYTES) throw new BuildFailure(`${path} is larger than 1 MiB`);
    texts.set(path, (await buffer(entry)).toString("utf8"));
  }
  return texts;
}

export interface ContextOptions {
  /** The spooled source. */
  file: string;
  dockerfile: { path: string; text: string };
  ignore: string;
}

/** Docker's own client keeps both files however they are ignored; the daemon drops them after reading. */
function contextFilter({
  dockerfile,
  ignore,
}: Pick<ContextOptions, "dockerfile" | "ignore">): (path: string) => boolean {
  const rules = dockerignore.default({ ignorecase: false }).add(ignore);
  const always = [dockerfile.path, ".dockerignore"];
  return (path) => always.includes(path) || path === "" || !rules.ignores(path);
}

export function dockerContext({ file, dockerfile, ignore }: ContextOptions): Readable {
  const wanted = contextFilter({ dockerfile, ignore });
  return packEntries(async (add) => {
    for await (const entry of entries(file)) {
      const { header } = entry;
      const path = cleanPath(header.name);
      if (path === "" || !KINDS.includes(header.type) || !wanted(path)) {
        for await (const _ of entry);
      } else if (path === dockerfile.path) {
        for await (const _ of entry);
        await add({ name: path, mode: 0o644, mtime: header.mtime }, dockerfile.text);
      } else if (header.type === "file" || header.type === "contiguous-file") {
        await add({ ...header, name: path }, entry);
      } else {
        await add({ ...header, name: path });
      }
    }
  });
}

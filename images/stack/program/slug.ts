// The result: all of the app's folder as one gzip tar whose entries begin with `app/` and belong to the app's user.
import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { BuildFailure } from "./failure.ts";

const USER = "1000";

export async function writeSlug(options: {
  /** Its last part is the name inside the slug: `app`. */
  app: string;
  output: string;
  path: string;
  signal: AbortSignal;
}): Promise<{ sizeBytes: number }> {
  const { app, output, path, signal } = options;
  const fresh = `${output}.new`;
  const argv = [
    "--create",
    "--file=-",
    "--format=gnu",
    "--sort=name",
    "--numeric-owner",
    `--owner=${USER}`,
    `--group=${USER}`,
    "--mode=ug-s",
    `--directory=${dirname(app)}`,
    "--",
    "app",
  ];
  const child = spawn("tar", argv, { env: { PATH: path, LANG: "C.UTF-8" }, stdio: ["ignore", "pipe", "pipe"], signal });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  try {
    const [said, code] = await Promise.all([
      text(child.stderr),
      ended,
      pipeline(child.stdout, createGzip(), createWriteStream(fresh), { signal }),
    ]);
    // 1: a file changed while it was read, which a socket or a leftover process may do; 2: something was not read.
    if (code !== 0 && code !== 1) {
      throw new BuildFailure("the slug could not be packed", { details: [said.trim().slice(-500)] });
    }
    await rename(fresh, output);
    return { sizeBytes: (await stat(output)).size };
  } catch (error) {
    await rm(fresh, { force: true });
    if ((error as NodeJS.ErrnoException).code === "ENOSPC")
      throw new BuildFailure("the disk that this build may use is full", { cause: error });
    throw error;
  }
}

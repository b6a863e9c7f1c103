// One iPXE binary or script, as UEFI HTTP firmware fetches it before anything else.
import type { ServerResponse } from "node:http";

export interface BootFileFetch {
  name: string;
  sizeBytes: number;
  complete: boolean;
  durationMs: number;
}

/** Resolves once all of it has left, or the client has gone. */
export function sendBootFile(
  response: ServerResponse,
  name: string,
  file: Buffer,
  head: boolean,
): Promise<BootFileFetch> {
  const type = name.endsWith(".efi")
    ? "application/efi"
    : name.endsWith(".ipxe")
      ? "text/plain; charset=utf-8"
      : "application/octet-stream";
  const startedMs = performance.now();
  return new Promise((resolve) => {
    response.once("close", () => {
      const durationMs = performance.now() - startedMs;
      resolve({ name, sizeBytes: file.length, complete: response.writableFinished, durationMs });
    });
    response.writeHead(200, { "Content-Type": type, "Content-Length": file.length }).end(head ? undefined : file);
  });
}

// Files whose length somebody else decides, such as /proc/PID/cmdline of a tenant's process.
import { open } from "node:fs/promises";

/** The first bytes of the file as UTF-8: no more than `mostBytes` are ever held. */
export async function readStart(path: string, mostBytes: number): Promise<string> {
  const file = await open(path, "r");
  try {
    const bytes = Buffer.alloc(mostBytes);
    let length = 0;
    for (let read = 1; read > 0 && length < mostBytes; length += read)
      read = (await file.read(bytes, length, mostBytes - length, length)).bytesRead;
    return bytes.toString("utf8", 0, length);
  } finally {
    await file.close();
  }
}

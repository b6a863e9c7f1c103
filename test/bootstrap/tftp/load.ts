// N clients reading one file over and over for a while, in a process of their own; the same for every server measured.
// Told {address, port, clients, windowsize, ...} over IPC, answers {bytesPerSecond, failed}.
import { setTimeout as delay } from "node:timers/promises";
import { download } from "./client.ts";

export interface Load {
  address: string;
  port: number;
  name: string;
  clients: number;
  blksize: number;
  windowsize: number;
  warmUpMs: number;
  measureMs: number;
}
export interface LoadResult {
  bytesPerSecond: number;
  downloads: number;
  failed: number;
}

async function apply(load: Load): Promise<LoadResult> {
  const stop = new AbortController();
  let bytes = 0;
  let downloads = 0;
  let failed = 0;
  async function reader(): Promise<void> {
    while (!stop.signal.aborted) {
      try {
        const onBlock = (payload: Buffer) => {
          bytes += payload.length;
        };
        await download({ ...load, stop: stop.signal, onBlock, timeoutMs: 60_000 });
        downloads++;
      } catch {
        failed++;
        await delay(50);
      }
    }
  }
  const readers = Array.from({ length: load.clients }, reader);
  await delay(load.warmUpMs);
  const [from, fromMs] = [bytes, performance.now()];
  await delay(load.measureMs);
  const bytesPerSecond = ((bytes - from) * 1000) / (performance.now() - fromMs);
  stop.abort();
  await Promise.all(readers);
  return { bytesPerSecond, downloads, failed };
}

process.on("message", (load: Load) => {
  apply(load).then(
    (result) => process.send?.(result),
    (error) => {
      throw error;
    },
  );
});
process.on("disconnect", () => process.exit(0));

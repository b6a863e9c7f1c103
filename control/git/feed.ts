// A client's bytes into a git process, at the pace git takes them.
import type { Readable, Transform, Writable } from "node:stream";

/** Resolves when there is room again, or never will be. */
export function room(stream: Writable): Promise<void> {
  if (stream.destroyed || stream.writableEnded || !stream.writableNeedDrain) return Promise.resolve();
  return new Promise((resolve) => {
    const go = () => {
      stream.off("drain", go).off("close", go);
      resolve();
    };
    stream.on("drain", go).on("close", go);
  });
}

/**
 * To the end of `source`, through `gate` into `target`. A git that ends early has said why in its answer, and a client hears an
 * answer only after it has sent everything: what is left is passed over. Rejects, and leaves `target` without a proper end,
 * when the source breaks off.
 */
export async function feed(source: Readable, gate: Transform, target: Writable): Promise<void> {
  // Nothing would be heard of its end any more: a client may go while git is being started.
  if (source.destroyed && !source.readableEnded) throw source.errored ?? new Error("the client went away");
  const put = async () => {
    for await (const chunk of gate) {
      if (target.destroyed || !target.writable) continue;
      if (!target.write(chunk)) await room(target);
    }
  };
  const broken = new Promise<never>((_, reject) => source.once("error", reject));
  source.on("close", () => {
    if (!source.readableEnded) gate.destroy(source.errored ?? new Error("the client went away"));
  });
  source.pipe(gate);
  await Promise.race([put(), broken]);
  target.end();
  // A refused client is read to its end.
  if (!source.readableEnded && !source.destroyed)
    // Not by the gate: one that was ended from outside may wait for a reader that is gone.
    await new Promise<void>((resolve) => source.unpipe(gate).once("end", resolve).once("close", resolve).resume());
}

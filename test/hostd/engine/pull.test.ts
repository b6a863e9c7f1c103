// A pull through a stand-in of Docker: hung, endless, ended by its caller, of the wrong architecture.
import { PassThrough } from "node:stream";
import type Docker from "dockerode";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { pullImage } from "../../../hostd/engine/pull.ts";

/** `everyMs`: a line of progress so often; undefined: silence. */
function docker({ everyMs, lines = [] }: { everyMs?: number; lines?: object[] }): Docker {
  const missing = Object.assign(new Error("no such image"), { statusCode: 404 });
  return {
    getImage: () => ({ inspect: () => Promise.reject(missing) }),
    createImage({ abortSignal }: { abortSignal: AbortSignal }) {
      const stream = new PassThrough();
      const say = (line: object) => stream.write(`${JSON.stringify(line)}\n`);
      const ticking = everyMs === undefined ? undefined : setInterval(() => say({ status: "Extracting" }), everyMs);
      stream.on("close", () => clearInterval(ticking));
      const end = () => stream.destroy(new Error("aborted"));
      if (abortSignal.aborted) end();
      abortSignal.addEventListener("abort", end);
      for (const line of lines) say(line);
      if (lines.length > 0) stream.end();
      return Promise.resolve(stream);
    },
  } as unknown as Docker;
}

const pull = (fake: Docker, signal: AbortSignal = new AbortController().signal) =>
  pullImage(fake, "registry/app@sha256:0123", {
    ...{ architecture: "amd64", signal, callTimeoutMs: 1_000 },
    ...{ silenceMs: 300, timeoutMs: 1_000 },
  }).then(
    () => "done",
    (error: Error) => error.message,
  );

test("a pull that falls silent says so", async () => {
  assert.is(await pull(docker({})), "the pull made no progress for 300ms");
});

test("a pull that goes on and on has a limit, and says that one", async () => {
  assert.is(await pull(docker({ everyMs: 50 })), "the pull took longer than 1.0s");
});

test("what Docker says of a failed pull is the reason", async () => {
  assert.is(await pull(docker({ lines: [{ status: "Pulling" }, { error: "manifest unknown" }] })), "manifest unknown");
  assert.is(
    await pull(docker({ lines: [{ error: "no matching manifest for linux/amd64 in the manifest list" }] })),
    "the image has no variant for amd64",
  );
});

test("a pull that its caller ends, ends", async () => {
  const stop = new AbortController();
  const ending = pull(docker({ everyMs: 50 }), stop.signal);
  stop.abort();
  assert.is(await ending, "aborted");
});

test.run();

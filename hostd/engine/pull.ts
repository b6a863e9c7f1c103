// One image pull through Docker: progress is watched, since a pull may hang for ever without an error, and an image of another
// architecture is refused here in plain words instead of as `exec format error` at its start.
import type Docker from "dockerode";
import { Fault } from "#api/fault.ts";
import { deadline, joined } from "#lib/time.ts";
import { formatDuration } from "#lib/units.ts";

export interface PullOptions {
  architecture: string;
  signal: AbortSignal;
  callTimeoutMs: number;
  /** Longest silence of a pull that still counts as one. */
  silenceMs?: number;
  /** Longest pull that goes on: a large image over a slow line, or onto a slow disk. */
  timeoutMs?: number;
}

export async function pullImage(docker: Docker, image: string, options: PullOptions): Promise<void> {
  const { architecture, signal, callTimeoutMs, silenceMs = 60_000, timeoutMs = 3_600_000 } = options;
  const found =
    (await imageArchitecture(docker, image, callTimeoutMs)) ??
    (await download(docker, image, { signal, silenceMs, timeoutMs }).then(() =>
      imageArchitecture(docker, image, callTimeoutMs),
    ));
  if (found !== undefined && found !== "" && found !== architecture)
    throw new Fault("invalid", `image ${shortImage(image)} is for ${found}, this host is ${architecture}`);
}

async function imageArchitecture(docker: Docker, image: string, timeoutMs: number): Promise<string | undefined> {
  try {
    const inspect = docker.getImage(image).inspect({ abortSignal: AbortSignal.timeout(timeoutMs) } as object);
    return (await deadline(inspect, timeoutMs + 100, "inspect image")).Architecture;
  } catch (cause) {
    if ((cause as { statusCode?: number }).statusCode === 404) return undefined;
    throw new Fault("unavailable", `look for image ${shortImage(image)}`, { cause });
  }
}

async function download(
  docker: Docker,
  image: string,
  { signal, silenceMs, timeoutMs }: { signal: AbortSignal; silenceMs: number; timeoutMs: number },
): Promise<void> {
  const stopped = new AbortController();
  const stopIn = (ms: number, why: string) => setTimeout(() => stopped.abort(new Error(why)), ms);
  const watchdog = () => stopIn(silenceMs, `the pull made no progress for ${formatDuration(silenceMs)}`);
  const limit = stopIn(timeoutMs, `the pull took longer than ${formatDuration(timeoutMs)}`);
  let timer = watchdog();
  const until = joined(signal, stopped.signal);
  try {
    const stream = await docker.createImage({ fromImage: image, abortSignal: until.signal } as object);
    let rest = "";
    for await (const chunk of stream as unknown as AsyncIterable<Buffer>) {
      clearTimeout(timer);
      timer = watchdog();
      const lines = (rest + chunk.toString("utf8")).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) failOn(line);
    }
    failOn(rest);
  } catch (cause) {
    if (cause instanceof Fault) throw cause;
    const why = stopped.signal.aborted ? stopped.signal.reason : cause;
    throw new Fault("unavailable", reason(String((why as Error).message)), { cause: why });
  } finally {
    clearTimeout(timer);
    clearTimeout(limit);
    until.release();
  }
}

/** A failed pull is a 200 whose last record holds the error. */
function failOn(line: string): void {
  if (line.trim() === "") return;
  const record = JSON.parse(line) as { error?: string };
  if (record.error !== undefined)
    throw new Fault(/no matching manifest for/.test(record.error) ? "invalid" : "unavailable", reason(record.error));
}

function reason(text: string): string {
  const arch = /no matching manifest for (\S+)/.exec(text);
  if (arch) return `the image has no variant for ${arch[1]?.replace(/^linux\//, "")}`;
  return text
    .replace(/^\(HTTP code \d+\) [^-]*- /, "")
    .trim()
    .slice(0, 300);
}

/** registry/app@sha256:0123456789ab…, for people. */
export function shortImage(image: string): string {
  return image.replace(/(@sha256:[0-9a-f]{12})[0-9a-f]+/, "$1");
}

// Sending a source and watching its build: the text is the one a push prints, as it comes. The build lives on the server: a client
// that goes away changes nothing.
import type { Readable } from "node:stream";
import { type Build, buildLog, createBuild, getBuild, hasEnded } from "#api/builds.ts";
import type { Client } from "#api/client.ts";
import { Fault, isFault } from "#api/fault.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import { counting, progress } from "../output/progress.ts";
import { plain } from "../output/text.ts";
import type { Cli } from "../parse/command.ts";

/** Silence of the server after the last byte: it still checks what came. */
const CHECK_MS = 20 * 60_000;
/** Control may be restarted under a build: so long it may be away. */
const AWAY_MOST_MS = 60_000;

export interface SendOptions {
  client: Client;
  cli: Cli;
  app: string;
  source: Readable;
  /** Of the archive, when it is known before it is sent. */
  sizeBytes?: number | undefined;
  commit?: string | undefined;
  /** Where its deployment pauses, and what share it has meanwhile. */
  staging?: { pauseAfter?: number; canaryPercent?: number };
}

export async function sendSource(options: SendOptions): Promise<Build> {
  const { client, cli, app, source, sizeBytes, commit, staging } = options;
  const shown = progress(cli);
  const counted = counting(shown, {
    what: "uploading the source",
    totalBytes: sizeBytes || undefined,
    after: "the cluster looks through the source",
  });
  source.on("error", (error) => counted.destroy(error));
  try {
    return await client.call(createBuild, {
      params: { app },
      query: { ...(commit === undefined ? {} : { commit }), ...staging },
      upload: source.pipe(counted),
      timeoutMs: CHECK_MS,
      signal: cli.signal,
    });
  } finally {
    shown.end();
    source.destroy();
  }
}

export interface FollowOptions {
  client: Client;
  cli: Cli;
  app: string;
  id: string;
  /** Told each whole line. */
  line: (text: string) => void;
}

/** The log's lines to the end of the build, over breaks of the connection; resolves with the build as it ended. */
export async function followBuild({ client, cli, app, id, line }: FollowOptions): Promise<Build> {
  const { signal } = cli;
  const params = { app, id };
  let lastEventId: string | undefined;
  let rest = "";
  let brokeMs: number | undefined;
  for (let failures = 0; ; ) {
    try {
      for await (const { data, id: eventId } of client.stream(buildLog, { params, signal, lastEventId })) {
        failures = 0;
        brokeMs = undefined;
        lastEventId = eventId ?? lastEventId;
        const lines = (rest + (data?.text ?? "")).split("\n");
        rest = lines.pop()!;
        for (const one of lines) line(plain(one, { lines: true }));
      }
      const build = await client.call(getBuild, { params, signal });
      if (hasEnded(build)) {
        if (rest !== "") line(plain(rest, { lines: true }));
        return build;
      }
    } catch (error) {
      if (signal.aborted) break;
      if (isFault(error) && !error.retry) throw error;
      brokeMs ??= performance.now();
      if (performance.now() - brokeMs > AWAY_MOST_MS)
        throw new Fault("unavailable", `the cluster went away; ${goesOn(app, id)}`, { cause: error });
    }
    if (signal.aborted) break;
    await sleep(backoffMs(++failures, 200, 3_000), signal);
  }
  cli.say(goesOn(app, id));
  throw new Fault("unavailable", goesOn(app, id));
}

const goesOn = (app: string, id: string): string =>
  `the build goes on in the cluster: \`flynn -a ${app} build log -f ${id}\` shows it, \`flynn -a ${app} build cancel ${id}\` ends it`;

/** Throws what a push would be rejected with. */
export function checkEnd({ state, reason, number }: Build): void {
  if (state === "succeeded") return;
  throw new Fault(
    "internal",
    `build ${number} ${state === "failed" ? "failed" : "was cancelled"}: ${reason || "no reason was given"}`,
  );
}

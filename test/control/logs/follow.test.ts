// The order of what several sources say at once, by a clock of the test's own: how busy the machine is decides nothing.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { LogLine } from "#api/logs.ts";
import type { StreamEvent } from "#api/stream.ts";
import { until } from "#lib/time.ts";
import { followSources, type LineSource } from "../../../control/logs/follow.ts";
import { at } from "./rig.ts";

interface Said extends LineSource {
  /** Resolves when the line was taken. */
  say(ms: number, line: string): Promise<void>;
}

/** A source whose lines are taken one by one, as the test says them. */
function source(id: string): Said {
  let waiting = Promise.withResolvers<{ line: LogLine; taken: () => void }>();
  return {
    id,
    name: id,
    async *follow(): AsyncGenerator<StreamEvent<LogLine>[]> {
      yield [{ event: "current", data: { silent: [] } as never }];
      for (let n = 1; ; n++) {
        const { line, taken } = await waiting.promise;
        waiting = Promise.withResolvers();
        yield [{ event: "item", data: line, id: String(n) }];
        taken(); // the reader asks for the next
      }
    },
    say(ms, line) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const shared = { app: "live", process: "web", jobId: `${id}-1`, stream: "stdout", source: "app" } as const;
      waiting.resolve({ line: { ...shared, at: at(ms), line }, taken: resolve });
      return promise;
    },
  };
}

async function following(
  body: (it: { lines: string[]; pass: (ms: number) => void; h1: Said; h2: Said }) => Promise<void>,
) {
  const [h1, h2] = [source("h1"), source("h2")];
  const stop = new AbortController();
  const lines: string[] = [];
  let nowMs = 0;
  let isCurrent = false;
  const options = {
    sources: () => [h1, h2],
    away: () => [],
    query: { lines: 100, app: "live" },
    signal: stop.signal,
    onError: () => undefined,
    windowMs: 250,
    nowMs: () => nowMs,
  };
  const reading = (async () => {
    for await (const { event, data } of followSources(options)) {
      if (event === "item" && data) lines.push(data.line);
      isCurrent ||= event === "current";
    }
  })();
  try {
    await until(() => isCurrent, { what: "current", timeoutMs: 10_000, everyMs: 5 });
    await body({ lines, h1, h2, pass: (ms) => (nowMs += ms) });
  } finally {
    stop.abort();
    await reading;
  }
}
const arrive = (lines: string[], count: number) =>
  until(() => lines.length >= count, { what: `${count} lines`, timeoutMs: 10_000, everyMs: 5 });

test("lines of two hosts that come within a quarter of a second of one another are shown in time order", () =>
  following(async ({ lines, h1, h2, pass }) => {
    for (let n = 0; n < 40; n += 2) {
      await h1.say(n + 1, `line ${n + 1}`);
      pass(5);
      await h2.say(n, `line ${n}`);
    }
    assert.equal(lines, [], "each is held back for earlier ones");
    pass(250);
    await arrive(lines, 40);
    assert.equal(
      lines,
      Array.from({ length: 40 }, (_, n) => `line ${n}`),
    );
  }));

test("a line is held back no longer than that: one that comes later is shown after it, whatever its time", () =>
  following(async ({ lines, h1, h2, pass }) => {
    await h1.say(2, "second");
    pass(250);
    await arrive(lines, 1);
    await h2.say(1, "first, but late");
    await h1.say(3, "third");
    pass(250);
    await arrive(lines, 3);
    assert.equal(lines, ["second", "first, but late", "third"]);
  }));

test.run();

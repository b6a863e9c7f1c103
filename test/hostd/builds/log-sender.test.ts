import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { deadline, until } from "#lib/time.ts";
import { sendLog } from "../../../hostd/builds/log-sender.ts";

interface Control {
  text: string;
  away: Error | undefined;
  /** Takes what is sent, and the answer is lost. */
  deaf: boolean;
  client: Pick<Client, "call">;
}

function control(): Control {
  const state: Control = { text: "", away: undefined, deaf: false, client: undefined as never };
  state.client = {
    call: (async (_: unknown, { body }: { body: { offset: number; text: string } }) => {
      if (state.away) throw state.away;
      const had = Buffer.byteLength(state.text);
      if (body.offset <= had)
        state.text += Buffer.from(body.text)
          .subarray(had - body.offset)
          .toString("utf8");
      if (state.deaf) {
        state.deaf = false;
        throw new Fault("timeout", "no answer");
      }
      return { offset: Buffer.byteLength(state.text) };
    }) as never,
  };
  return state;
}
const open = (state: Control, options = {}) => {
  const controller = new AbortController();
  const sender = sendLog({
    client: state.client,
    hostId: "h",
    buildId: "b",
    signal: controller.signal,
    gatherMs: 1,
    retryMs: 1,
    ...options,
  });
  return { ...sender, stop: () => controller.abort() };
};

test("lines arrive in order and whole, one answer lost on the way", async () => {
  const state = control();
  const sender = open(state);
  sender.write("eins");
  await until(() => state.text !== "", { what: "the first line", timeoutMs: 30_000, everyMs: 1 });
  state.deaf = true;
  for (let n = 0; n < 500; n++) sender.write(`zwei ü ${n}`);
  await sender.end(5_000);
  assert.is(state.text, ["eins", ...Array.from({ length: 500 }, (_, n) => `zwei ü ${n}`), ""].join("\n"));
});

test("while control is away what waits is bounded; then the newest lines come, and how many are missing", async () => {
  const state = control();
  state.away = new Fault("unavailable", "away");
  const sender = open(state, { pendingBytes: 1_000 });
  for (let n = 0; n < 1_000; n++) sender.write(`line ${n}`);
  state.away = undefined;
  await sender.end(5_000);
  const lines = state.text.trimEnd().split("\n");
  const marker = lines.find((line) => /^ {7}\.\.\. \d+ lines dropped$/.test(line));
  assert.ok(marker, state.text.slice(0, 200));
  assert.is(lines.at(-1), "line 999");
  assert.is(Number(/\d+/.exec(marker!)![0]) + lines.length - 1, 1_000);
});

test("of an endless output the beginning and the end are sent", async () => {
  const state = control();
  const sender = open(state, { totalBytes: 2_000 });
  for (let n = 0; n < 20_000; n++) {
    sender.write(`line ${n}`);
    if (n % 500 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await sender.end(5_000);
  assert.match(state.text, /^line 0\n/);
  assert.match(state.text, /\n {7}\.\.\. \d+ lines dropped\n/);
  assert.match(state.text, /line 19999\n$/);
  assert.ok(state.text.length < 300_000);
});

test("a control that wants no more ends it, and one that stays away does not hold it up", async () => {
  const state = control();
  state.away = new Fault("not-found", "no such build");
  const refused = open(state);
  refused.write("x");
  await refused.end(5_000);
  state.away = new Fault("unavailable", "away");
  const away = open(state);
  away.write("x");
  await deadline(away.end(50), 20_000, "the end without control");
  away.stop();
});

for (const [what, error] of [
  ["a control that is away", new Fault("unavailable", "away")],
  ["an answer that does not come", new Fault("timeout", "no answer")],
  ["a control that has too much to do", new Fault("rate-limited", "later")],
  ["a fault of control's own", new Fault("internal", "a bug")],
  ["an error that nobody foresaw", new TypeError("a bug")],
] as const)
  for (const taken of [false, true])
    test(`${what} is one more try: lines arrive once and in order, ${taken ? "the text taken" : "the text lost"}`, async () => {
      const state = control();
      let left = 2;
      let calls = 0;
      const sender = open({
        ...state,
        client: {
          call: (async (endpoint: never, input: never) => {
            calls++;
            if (left === 0) return state.client.call(endpoint, input);
            left--;
            if (taken) await state.client.call(endpoint, input);
            throw error;
          }) as never,
        },
      });
      sender.write("one");
      await until(() => calls > 0, { what: "the first send", timeoutMs: 30_000, everyMs: 1 });
      for (const line of ["two", "two", "three"]) sender.write(line);
      await sender.end(20_000);
      assert.is(state.text, "one\ntwo\ntwo\nthree\n");
    });

test("what control has lost is not waited for", async () => {
  const state = control();
  const sender = open(state);
  sender.write("before");
  await until(() => state.text !== "", { what: "the first line", timeoutMs: 30_000, everyMs: 1 });
  state.text = "";
  sender.write("after");
  await sender.end(5_000);
  assert.is(state.text, "after\n");
});

test.run();

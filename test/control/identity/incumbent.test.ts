// When a boot's host may take the place of the machine's host: seconds since control's start, and what is judged; and which boots are over.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSuperseded, type Judgement, judge } from "../../../control/identity/incumbent.ts";

interface Row {
  now: number;
  slept?: number;
  heard?: number;
  begun?: number;
  asked?: number;
}

const TABLE: [string, Row, Judgement][] = [
  ["a reboot: silent since its boot began", { now: 130, heard: 99, begun: 100 }, "let-in"],
  ["dead for long, booting quickly", { now: 101, heard: 20, begun: 100 }, "let-in"],
  ["the last report came just before the boot began", { now: 102, heard: 99.5, begun: 100 }, "not-yet"],
  ["the same, two reports later", { now: 105, heard: 99.5, begun: 100 }, "let-in"],
  ["it reports while somebody boots in its name", { now: 130, heard: 129, begun: 100 }, "alive"],
  ["it reported once after the boot began, and is silent now", { now: 130, heard: 119, begun: 100 }, "let-in"],
  ["the same, but not for a full TTL", { now: 128, heard: 119, begun: 100 }, "alive"],
  ["a boot that was not seen to begin, host heard lately", { now: 130, heard: 125 }, "not-yet"],
  ["the same, asked before it was heard", { now: 130, heard: 125, asked: 124 }, "alive"],
  ["a boot that was not seen to begin, host silent for a TTL", { now: 130, heard: 120 }, "let-in"],
  ["this control is young and has heard nothing", { now: 9 }, "not-yet"],
  ["this control has heard nothing for a TTL", { now: 10 }, "let-in"],
  ["a young control that saw the boot begin, and never the host", { now: 9, begun: 0.5 }, "not-yet"],
  ["the same, after a TTL", { now: 10, begun: 0.5 }, "let-in"],
  [
    "a boot begins before a control that is not young, and its host was never heard",
    { now: 101, begun: 100 },
    "let-in",
  ],
  ["control was stopped all the while", { now: 130, heard: 118, slept: 130 }, "not-yet"],
  ["it was stopped after the boot began", { now: 139, heard: 99, begun: 100, slept: 130 }, "not-yet"],
  ["the same, a TTL after it woke", { now: 140, heard: 99, begun: 100, slept: 130 }, "let-in"],
  ["it woke and heard the host before the boot began", { now: 142, heard: 131, begun: 135, slept: 130 }, "let-in"],
  ["a pause long ago", { now: 130, heard: 99, begun: 100, slept: 50 }, "let-in"],
];

test("a grant is used only when the incumbent's session is over, by what this control itself saw", () => {
  for (const [what, row, judgement] of TABLE) {
    const ms = (seconds: number | undefined) => (seconds === undefined ? undefined : seconds * 1_000);
    const { now, heard, begun, asked, slept } = row;
    const times = { heardMs: ms(heard), begunMs: ms(begun), askedMs: ms(asked), sleptMs: ms(slept) };
    assert.is(judge({ nowMs: now * 1_000, startedMs: 0, ...times, ttlMs: 10_000 }), judgement, what);
  }
});

test("where hosts are asked to report less often, two reports take longer to miss", () => {
  const row = { startedMs: 0, heardMs: 99_500, begunMs: 100_000, ttlMs: 10_000, everyMs: 3_000 };
  assert.is(judge({ ...row, nowMs: 105_000 }), "not-yet", "one report may have been lost on the way, the host lives");
  assert.is(judge({ ...row, nowMs: 107_000 }), "let-in");
});

test("a later boot of a machine ends the one before, in whichever order they are heard of", () => {
  const [first, second] = ["boot-1a2b3c4000000000", "boot-1a2b3c5000000000"];
  const table: [string, string, Parameters<typeof isSuperseded>[1], boolean][] = [
    ["nothing else is known", first, { begun: false }, false],
    ["it is the newest", second, { newest: second, begun: true }, false],
    ["a later one began", first, { newest: second, begun: true }, true],
    ["a later one began, and its own beginning was not seen", first, { newest: second, begun: false }, true],
    ["only an earlier one was seen", second, { newest: first, begun: false }, false],
    ["an earlier one was heard of late", second, { newest: first, begun: true }, false],
    ["a later one joined", first, { begun: false, joined: second }, true],
    ["it joined itself", first, { begun: false, joined: first }, false],
    ["one of the same second joined", first, { begun: false, joined: "boot-1a2b3c4000000001" }, false],
    ["one of the same second was seen last", first, { newest: "boot-1a2b3c4000000001", begun: false }, false],
    ["the same, and its own beginning was seen", first, { newest: "boot-1a2b3c4000000001", begun: true }, true],
    ["an earlier one joined", second, { begun: false, joined: first }, false],
    ["names without a time go by what was heard last", "b1", { newest: "b2", begun: true }, true],
    ["and by nothing when it was not heard", "b1", { newest: "b2", begun: false }, false],
  ];
  for (const [what, bootId, known, over] of table) assert.is(isSuperseded(bootId, known), over, what);
});

test.run();

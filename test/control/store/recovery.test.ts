// The rule over every combination of the two copies that a crash or a single damage leaves, and the ones it must refuse.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decide, type JournalFound, type LevelFound } from "../../../control/store/recovery.ts";

const level = (over: Partial<LevelFound>): LevelFound => ({
  state: "sound",
  id: "one",
  headSeq: 100,
  oldestSeq: 1,
  meetingHash: "h",
  ...over,
});
const journal = (over: Partial<JournalFound>): JournalFound => ({
  state: "clean",
  id: "one",
  firstSeq: 1,
  headSeq: 100,
  lastFrameSeq: 95,
  claimedSeq: 100,
  meetingHash: "h",
  ...over,
});
const none: JournalFound = { state: "absent", firstSeq: 0, headSeq: 0, lastFrameSeq: 0, claimedSeq: 0 };

const CASES: [title: string, LevelFound, JournalFound, act: string, outcome: string][] = [
  ["nothing at all is a new log", level({ state: "absent" }), none, "create", "created"],
  ["a first start that was killed before its journal is a new log", level({ headSeq: 0 }), none, "reseed", "created"],
  [
    "a first start that was killed within its journal's header is a new log",
    level({ headSeq: 0 }),
    { ...none, state: "torn" },
    "reseed",
    "created",
  ],
  ["two equal copies are used", level({}), journal({}), "use", "clean"],
  ["LevelDB one frame behind is what a crash leaves", level({ headSeq: 94 }), journal({}), "forward", "rolled-forward"],
  [
    "LevelDB two frames behind has lost acknowledged records",
    level({ headSeq: 90 }),
    journal({}),
    "forward",
    "recovered",
  ],
  [
    "LevelDB behind the newest segment is rebuilt",
    level({ headSeq: 40 }),
    journal({ firstSeq: 60 }),
    "rebuild",
    "recovered",
  ],
  ["the journal a group behind catches up", level({ headSeq: 120 }), journal({}), "catch-up", "rolled-forward"],
  [
    "the journal far behind catches up and it is called damage",
    level({ headSeq: 9000 }),
    journal({}),
    "catch-up",
    "recovered",
  ],
  [
    "the journal behind by the most that a group holds is what a crash leaves",
    level({ headSeq: 100 + 4096 }),
    journal({}),
    "catch-up",
    "rolled-forward",
  ],
  ["by one record more it is damage", level({ headSeq: 101 + 4096 }), journal({}), "catch-up", "recovered"],
  [
    "the journal ends just where LevelDB's records begin",
    level({ headSeq: 110, oldestSeq: 101 }),
    journal({}),
    "catch-up",
    "rolled-forward",
  ],
  [
    "a record between the two is in neither",
    level({ headSeq: 110, oldestSeq: 102 }),
    journal({}),
    "reseed",
    "recovered",
  ],
  [
    "LevelDB ends just where the newest segment begins",
    level({ headSeq: 59 }),
    journal({ firstSeq: 60 }),
    "forward",
    "recovered",
  ],
  [
    "LevelDB ends before the newest segment's first record",
    level({ headSeq: 58 }),
    journal({ firstSeq: 60 }),
    "rebuild",
    "recovered",
  ],
  [
    "a damaged LevelDB that says as much as the two reach is rebuilt",
    level({ state: "damaged", headSeq: 100 }),
    journal({ state: "torn" }),
    "rebuild",
    "recovered",
  ],
  [
    "one that says a record more is refused",
    level({ state: "damaged", headSeq: 101 }),
    journal({ state: "torn" }),
    "refuse",
    "recovered",
  ],
  [
    "a damaged LevelDB that says nothing, beside a torn journal, is refused",
    level({ state: "damaged", headSeq: undefined }),
    journal({ state: "torn" }),
    "refuse",
    "recovered",
  ],
  [
    "a damaged journal that claims a record more than LevelDB has is refused",
    level({ headSeq: 100 }),
    journal({ state: "damaged", headSeq: 90, claimedSeq: 101 }),
    "refuse",
    "recovered",
  ],
  [
    "one that claims just what LevelDB has is seeded anew",
    level({ headSeq: 100 }),
    journal({ state: "damaged", headSeq: 90, claimedSeq: 100 }),
    "reseed",
    "recovered",
  ],
  [
    "a journal whose header is damaged and whose frames go on is refused",
    level({ headSeq: 100 }),
    journal({ state: "damaged", id: undefined, headSeq: 0, claimedSeq: 101 }),
    "refuse",
    "recovered",
  ],
  [
    "both damaged, and a frame claims more than either has",
    level({ state: "damaged", headSeq: 100, salvageableSeq: 100 }),
    journal({ state: "damaged", headSeq: 90, claimedSeq: 101 }),
    "refuse",
    "recovered",
  ],
  [
    "both damaged, and nothing claims more than one has",
    level({ state: "damaged", headSeq: 100, salvageableSeq: 100 }),
    journal({ state: "damaged", headSeq: 90, claimedSeq: 100 }),
    "rebuild",
    "recovered",
  ],
  [
    "the journal behind what LevelDB keeps is seeded anew",
    level({ headSeq: 9000, oldestSeq: 5000 }),
    journal({}),
    "reseed",
    "recovered",
  ],
  [
    "a torn last frame that LevelDB has is written again",
    level({ headSeq: 105 }),
    journal({ state: "torn", claimedSeq: 105 }),
    "catch-up",
    "rolled-forward",
  ],
  [
    "a torn frame that LevelDB went on from was more than the last",
    level({ headSeq: 130 }),
    journal({ state: "torn", claimedSeq: 105 }),
    "catch-up",
    "recovered",
  ],
  [
    "a torn last frame that LevelDB does not have was never acknowledged",
    level({}),
    journal({ state: "torn", claimedSeq: 105 }),
    "catch-up",
    "rolled-forward",
  ],
  [
    "a damaged journal within what LevelDB has is seeded anew",
    level({ headSeq: 200 }),
    journal({ state: "damaged", claimedSeq: 200 }),
    "reseed",
    "recovered",
  ],
  [
    "a journal whose header is damaged is seeded anew",
    level({}),
    journal({ state: "damaged", id: undefined, headSeq: 0 }),
    "reseed",
    "recovered",
  ],
  ["a missing journal is seeded anew and said", level({}), none, "reseed", "recovered"],
  ["a damaged LevelDB is rebuilt", level({ state: "damaged" }), journal({}), "rebuild", "recovered"],
  [
    "a missing LevelDB is rebuilt",
    level({ state: "absent", headSeq: undefined, id: undefined }),
    journal({}),
    "rebuild",
    "recovered",
  ],
  [
    "a damaged LevelDB ahead of the journal is rebuilt with its own last records",
    level({ state: "damaged", headSeq: 110, salvageableSeq: 110 }),
    journal({}),
    "rebuild",
    "recovered",
  ],
  [
    "a damaged LevelDB beside a torn frame it does not speak of is rebuilt",
    level({ state: "damaged" }),
    journal({ state: "torn" }),
    "rebuild",
    "recovered",
  ],
  [
    "LevelDB and journal short of a record that one names is refused",
    level({ state: "damaged", headSeq: 110 }),
    journal({}),
    "refuse",
    "recovered",
  ],
  [
    "LevelDB behind a journal that is torn is refused",
    level({ headSeq: 90 }),
    journal({ state: "torn" }),
    "refuse",
    "recovered",
  ],
  [
    "a journal damaged before records that LevelDB lacks is refused",
    level({}),
    journal({ state: "damaged", claimedSeq: 130 }),
    "refuse",
    "recovered",
  ],
  [
    "a damaged header before records that LevelDB lacks is refused",
    level({}),
    journal({ state: "damaged", id: undefined, claimedSeq: 130 }),
    "refuse",
    "recovered",
  ],
  [
    "a LevelDB without a head beside a torn journal is refused",
    level({ state: "damaged", headSeq: undefined }),
    journal({ state: "torn" }),
    "refuse",
    "recovered",
  ],
  ["a damaged LevelDB without a journal is refused", level({ state: "damaged" }), none, "refuse", "recovered"],
  ["copies of two logs are refused", level({}), journal({ id: "two" }), "refuse", "recovered"],
  [
    "a damaged LevelDB and another log's journal are refused",
    level({ state: "damaged" }),
    journal({ id: "two" }),
    "refuse",
    "recovered",
  ],
  ["two histories of one log are refused", level({}), journal({ meetingHash: "other" }), "refuse", "recovered"],
];

for (const [title, levelFound, journalFound, act, outcome] of CASES) {
  test(title, () => {
    const decision = decide(levelFound, journalFound);
    assert.equal([decision.act, decision.outcome], [act, outcome]);
    const silent = outcome === "clean" || outcome === "created";
    assert.is(decision.findings.length > 0, !silent, "anything found is said");
  });
}

test("salvage turns every refusal into an opening that says what it gave up, and nothing else", () => {
  for (const [title, levelFound, journalFound, act] of CASES) {
    const decision = decide(levelFound, journalFound, true);
    assert.is.not(decision.act, "refuse", title);
    if (act !== "refuse") assert.is(decision.act, act, title);
    else assert.match(decision.findings.at(-1)!, "as asked");
  }
});

test("salvage goes on from the copy that verifies further, and from LevelDB where both do alike", () => {
  const damaged = (headSeq: number) => journal({ state: "damaged", headSeq, claimedSeq: 200 });
  const act = (levelFound: LevelFound, journalFound: JournalFound) => {
    assert.is(decide(levelFound, journalFound).act, "refuse");
    return decide(levelFound, journalFound, true).act;
  };
  assert.is(act(level({ headSeq: 110 }), damaged(100)), "reseed");
  assert.is(act(level({ headSeq: 100 }), damaged(100)), "reseed");
  assert.is(act(level({ headSeq: 99 }), damaged(100)), "rebuild");
  const broken = level({ state: "damaged", headSeq: 150, salvageableSeq: 150 });
  assert.is(act(broken, damaged(100)), "rebuild", "what is broken is no ground to go on from");
});

test.run();

import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  type Act,
  begin,
  DEFAULT_RULES,
  onAck,
  onError,
  onRepeat,
  onTimer,
  type Step,
  type TransferPlan,
} from "../../../bootstrap/tftp/transfer.ts";

const plan = (over: Partial<TransferPlan> = {}): TransferPlan => ({
  sizeBytes: 1500,
  blksize: 512,
  windowsize: 1,
  timeoutMs: undefined,
  hasOack: false,
  rules: DEFAULT_RULES,
  ...over,
});
const said = ({ act }: Step): string =>
  act.do === "send" ? `send ${act.from}-${act.to}` : act.do === "abort" ? `abort ${act.why}` : act.do;

/** Plays ACKs, 1 ms apart, and tells what was answered to each. */
function play(over: Partial<TransferPlan>, acks: number[]): string[] {
  let step = begin(plan(over), 0);
  const answers = [said(step)];
  for (const [i, block] of acks.entries()) {
    step = onAck(step.transfer, block, i + 1);
    answers.push(said(step));
  }
  return answers;
}

test("lock step: each ACK brings the next block, the last ACK ends it (RFC 1350 section 2)", () => {
  assert.equal(play({}, [1, 2, 3]), ["send 1-1", "send 2-2", "send 3-3", "done"]);
});

test("a size that is a multiple of blksize ends with an empty block, an empty file is one", () => {
  assert.equal(play({ sizeBytes: 1024 }, [1, 2, 3]), ["send 1-1", "send 2-2", "send 3-3", "done"]);
  assert.equal(play({ sizeBytes: 0 }, [1]), ["send 1-1", "done"]);
});

test("an OACK goes first, alone, and its ACK 0 brings the first window (RFC 2347, RFC 7440)", () => {
  assert.equal(play({ hasOack: true, windowsize: 8 }, [0, 3]), ["send 0-0", "send 1-3", "done"]);
  assert.equal(play({ hasOack: true }, [1, 65535, 0]), ["send 0-0", "nothing", "nothing", "send 1-1"]);
});

test("a duplicate, stale or unsent ACK in lock step brings nothing: no Sorcerer's Apprentice (RFC 1123 section 4.2.3.1)", () => {
  assert.equal(play({}, [1, 1, 1, 0, 3, 60000, 2]), ["send 1-1", "send 2-2", ...Array(5).fill("nothing"), "send 3-3"]);
});

test("in a window an earlier ACK goes back there, and a repeated one goes back once (RFC 7440 section 4)", () => {
  const over = { sizeBytes: 512 * 20, windowsize: 4, hasOack: true };
  assert.equal(play(over, [0, 4, 6, 6, 6, 10]), [
    "send 0-0",
    "send 1-4",
    "send 5-8",
    "send 7-10",
    "nothing",
    "nothing",
    "send 11-14",
  ]);
  assert.equal(play(over, [0, 4, 4, 4, 8]), ["send 0-0", "send 1-4", "send 5-8", "send 5-8", "nothing", "send 9-12"]);
});

test("block numbers go from 65535 to 0 and on, with stale ones told apart across the wrap", () => {
  let step = begin(plan({ sizeBytes: 8 * 140_000, blksize: 8 }), 0);
  for (let block = 1; block <= 140_000; block++) {
    assert.is(said(step), `send ${block}-${block}`);
    assert.is(onAck(step.transfer, (block - 2) & 0xffff, 1).act.do, "nothing");
    step = onAck(step.transfer, block & 0xffff, 1);
  }
  assert.is(said(onAck(step.transfer, 140_001 & 0xffff, 1)), "done");
});

test("silence resends, quickly twice and then after a pause longer than a client's own timer, and gives up on an address that never answered after a few small packets", () => {
  let step = begin(plan(), 0);
  const sentAt: number[] = [];
  let nowMs = 0;
  for (let turn = 0; turn < 50 && step.act.do === "send"; turn++) {
    sentAt.push(nowMs);
    nowMs = step.transfer.deadlineMs;
    assert.is(onTimer(step.transfer, nowMs - 1).act.do, "nothing", "before its time");
    step = onTimer(step.transfer, nowMs);
  }
  assert.equal(sentAt, [0, 1000, 2500, 8000, 9000, 10500]);
  assert.is(said(step), "abort timeout");
});

test("how long a client is waited for, unless it is set otherwise", () => {
  assert.equal(DEFAULT_RULES, {
    idleMs: 30_000,
    totalMs: 600_000,
    firstRtoMs: 1_000,
    minRtoMs: 100,
    maxRtoMs: 5_000,
    backoff: 1.5,
    quickResends: 2,
    quietMs: 5_500,
    oackQuietMs: 11_500,
    unprovenSends: 6,
  });
});

test("a proven client is tried until it was silent for idleMs, and a transfer ends at totalMs even with progress", () => {
  const first = onAck(begin(plan(), 0).transfer, 1, 10);
  let step = first;
  let nowMs = 10;
  while (step.act.do === "send") {
    nowMs = step.transfer.deadlineMs;
    step = onTimer(step.transfer, nowMs);
  }
  assert.is(said(step), "abort timeout");
  assert.is(nowMs, 10 + DEFAULT_RULES.idleMs);
  const busy = { ...first.transfer, progressAtMs: DEFAULT_RULES.totalMs - 1 };
  assert.is(said(onTimer(busy, DEFAULT_RULES.totalMs)), "abort time-limit");
});

test("the wait follows the measured round trip, within its bounds and the client's timeout option (RFC 2349)", () => {
  const waitAfter = (over: Partial<TransferPlan>, rttMs: number) => {
    const step = onAck(begin(plan(over), 0).transfer, 1, rttMs);
    return step.transfer.deadlineMs - rttMs;
  };
  assert.is(waitAfter({}, 1), DEFAULT_RULES.minRtoMs);
  assert.is(waitAfter({}, 100), 300);
  assert.is(waitAfter({}, 4000), DEFAULT_RULES.maxRtoMs);
  assert.is(waitAfter({ timeoutMs: 1000 }, 4000), 1000);
  // Karn: a block sent twice says nothing about the round trip.
  const resent = onTimer(begin(plan(), 0).transfer, 1000);
  assert.is(onAck(resent.transfer, 1, 1001).transfer.rttMs, undefined);
});

test("an OACK is not repeated before the client had time to repeat its ACK 0: atftp aborts on a second one", () => {
  const waits = (timeoutMs: number | undefined) => begin(plan({ hasOack: true, timeoutMs }), 0).transfer.deadlineMs;
  assert.equal([waits(undefined), waits(1000), waits(255_000)], [11_500, 11_500, 11_500]);
});

test("the same request again repeats the first reply a bounded number of times, and nothing once the client answered", () => {
  let step = begin(plan({ hasOack: true }), 0);
  const answers = Array.from({ length: 20 }, () => {
    step = onRepeat(step.transfer, 1);
    return said(step);
  });
  assert.is(answers.filter((answer) => answer === "send 0-0").length, DEFAULT_RULES.unprovenSends - 1);
  assert.is(said(onRepeat(onAck(step.transfer, 0, 2).transfer, 3)), "nothing");
});

test("an ERROR ends it: after the OACK that is the client declining, later a failure", () => {
  const oack = begin(plan({ hasOack: true }), 0);
  assert.equal(onError(oack.transfer, 8, "User aborted").act, {
    do: "abort",
    why: "declined",
    detail: "error 8 User aborted",
  } as Act);
  assert.is(said(onError(onAck(oack.transfer, 0, 1).transfer, 3, "disk full")), "abort client-error");
});

test("whatever ACKs and silences come, every block is sent, none past the end, and it always ends", () => {
  const loss = fc.array(fc.boolean(), { minLength: 1, maxLength: 40 });
  void fc.assert(
    fc.property(
      fc.nat(40_000),
      fc.constantFrom(8, 512, 1468),
      fc.integer({ min: 1, max: 64 }),
      loss,
      fc.boolean(),
      (sizeBytes, blksize, windowsize, lost, hasOack) => {
        let step = begin(plan({ sizeBytes, blksize, windowsize, hasOack }), 0);
        let nowMs = 0;
        let inOrder = hasOack ? -1 : 0; // what the client has
        for (let turn = 0; step.act.do !== "done" && step.act.do !== "abort"; turn++) {
          assert.ok(turn < 100_000, "never ends");
          if (step.act.do === "send") {
            const { from, to } = step.act;
            assert.ok(from <= inOrder + 1 && to <= step.transfer.blockCount && to - from < windowsize);
            // The client takes the window up to the first loss.
            for (let block = from; block <= to && !lost[(turn + block * 7) % lost.length]; block++)
              inOrder = Math.max(inOrder, block);
          }
          nowMs += 1;
          const ackArrives = inOrder >= 0 && !lost[(turn * 3) % lost.length];
          step = ackArrives ? onAck(step.transfer, inOrder & 0xffff, nowMs) : step;
          if (!ackArrives || step.act.do === "nothing") {
            nowMs = Math.max(nowMs, step.transfer.deadlineMs);
            step = onTimer(step.transfer, nowMs);
          }
        }
        if (step.act.do === "done") assert.is(inOrder, step.transfer.blockCount);
        else assert.ok(step.act.do === "abort" && ["timeout", "time-limit"].includes(step.act.why));
        if (!lost.includes(true)) assert.is(step.act.do, "done");
      },
    ),
    { numRuns: 300 },
  );
});

test("property: a transfer goes the same way whenever it begins", () => {
  const turn = fc.record({
    does: fc.constantFrom("ack", "ack", "timer", "repeat"),
    block: fc.nat(8),
    ms: fc.oneof(fc.nat(50), fc.nat(15_000)),
  });
  const shape = fc.record({
    windowsize: fc.constantFrom(1, 4),
    hasOack: fc.boolean(),
    timeoutMs: fc.constantFrom(undefined, 3_000),
  });
  const played = (
    over: Partial<TransferPlan>,
    turns: { does: string; block: number; ms: number }[],
    startMs: number,
  ) => {
    let nowMs = startMs;
    let step = begin(plan({ ...over, sizeBytes: 512 * 6 }), nowMs);
    const seen: unknown[] = [];
    const note = () => {
      const { deadlineMs, sentAtMs, progressAtMs, startedAtMs, plan: _, ...rest } = step.transfer;
      const times = [deadlineMs, sentAtMs, progressAtMs, startedAtMs].map((ms) => ms - startMs);
      seen.push([step.act, rest, times]);
    };
    note();
    for (const { does, block, ms } of turns) {
      nowMs = does === "timer" ? Math.max(nowMs, step.transfer.deadlineMs) : nowMs + ms;
      if (does === "ack") step = onAck(step.transfer, block, nowMs);
      else step = does === "timer" ? onTimer(step.transfer, nowMs) : onRepeat(step.transfer, nowMs);
      note();
      if (step.act.do === "done" || step.act.do === "abort") break;
    }
    return seen;
  };
  void fc.assert(
    fc.property(shape, fc.array(turn, { maxLength: 25 }), (over, turns) => {
      assert.equal(played(over, turns, 7_000_000), played(over, turns, 0));
    }),
    { numRuns: 300 },
  );
});

test("what a transfer waited for when it was given up is said with its blocks", () => {
  const given = (over: Partial<TransferPlan>, acks: number[]) => {
    let step = begin(plan(over), 0);
    for (const block of acks) step = onAck(step.transfer, block, 10);
    for (let turn = 0; turn < 50 && step.act.do === "send"; turn++)
      step = onTimer(step.transfer, step.transfer.deadlineMs);
    return step.act.do === "abort" ? step.act.detail : step.act.do;
  };
  assert.is(given({}, []), "no ACK after block 0 of 3");
  assert.is(given({ hasOack: true }, []), "no ACK after block 0 of 3");
  assert.is(given({}, [1]), "no ACK after block 1 of 3");
  assert.is(given({}, [1, 2]), "the last block was not acknowledged");
  assert.is(given({ sizeBytes: 1024 }, [1, 2]), "the last block was not acknowledged");
  const late = onTimer({ ...begin(plan(), 0).transfer, acked: 2, deadlineMs: 0 }, 600_000);
  assert.equal(late.act, { do: "abort", why: "time-limit", detail: "2 of 3 blocks after 600000 ms" });
});

test("how often blocks were sent again is counted, and a window that went back once does so again after progress", () => {
  let step = begin(plan({ sizeBytes: 512 * 20, windowsize: 4 }), 5_000);
  assert.equal([step.transfer.retransmits, step.transfer.wentBack], [0, false]);
  step = onAck(step.transfer, 4, 5_010);
  assert.equal([step.transfer.rttMs, step.transfer.retransmits, step.transfer.wentBack], [10, 0, false]);
  step = onAck(step.transfer, 4, 5_011);
  assert.equal([said(step), step.transfer.retransmits, step.transfer.wentBack], ["send 5-8", 4, true]);
  assert.is(said(onAck(step.transfer, 4, 5_012)), "nothing");
  step = onAck(step.transfer, 8, 5_020);
  assert.equal([said(step), step.transfer.rttMs], ["send 9-12", 10], "what was sent twice measures nothing");
  step = onAck(step.transfer, 10, 5_030);
  assert.equal([said(step), step.transfer.retransmits, step.transfer.wentBack], ["send 11-14", 6, true]);
});

test.run();

// Every stall that the doctor knows has a recorded boot, of which its rule alone says what it is; and the boot beside it, with one event
// other, is another sentence.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BOOT_CODES, type BootCode } from "#api/boot-codes.ts";
import type { TimelineEvent } from "#api/machines.ts";
import { readBoot } from "../../../control/doctor/boot.ts";
import { diagnose, stallsOf } from "../../../control/doctor/diagnose.ts";
import { STALLS } from "../../../control/doctor/rules.ts";
import { circumstancesFor, GOOD, machineOf, NOW, SEQUENCES, type Sequence, STEPS, timelineOf } from "./sequences.ts";

const fired = (sequence: Sequence, events: readonly TimelineEvent[] = timelineOf(sequence)) =>
  stallsOf(readBoot(machineOf(sequence), events, circumstancesFor(sequence)));
const explained = (sequence: Sequence, events: readonly TimelineEvent[] = timelineOf(sequence)) =>
  diagnose(machineOf(sequence), events, circumstancesFor(sequence));

test("every rule has a recorded boot, and every recorded boot a rule", () => {
  assert.equal(SEQUENCES.map(({ rule }) => rule).sort(), STALLS.map(({ id }) => id).sort());
  assert.ok(STALLS.length >= 60, `${STALLS.length} rules`);
});

test("of each recorded boot its rule alone says what it is, in one sentence that cites its events and says what to do", () => {
  for (const sequence of SEQUENCES) {
    const found = fired(sequence);
    assert.equal(
      found.map(({ rule }) => rule.id),
      [sequence.rule],
      sequence.rule,
    );
    const { summary, findings } = explained(sequence);
    const [cause] = findings;
    assert.equal([cause?.rule, cause?.level], [sequence.rule, "error"], sequence.rule);
    assert.ok(summary.startsWith("node-1 ") && summary.includes(cause!.what), `${sequence.rule}: ${summary}`);
    assert.match(summary, /^[^\n]{20,600}\.$/);
    assert.not.match(`${summary} ${cause!.todo}`, /undefined|NaN|\?/, sequence.rule);
    assert.ok(cause!.todo.length > 10, sequence.rule);
    const events = timelineOf(sequence);
    assert.ok(cause!.events!.length > 0, `${sequence.rule} cites nothing`);
    for (const { seq, at, stage, message } of cause!.events!) {
      const event = events.find((one) => one.seq === seq)!;
      assert.equal([at, stage, message], [event.at, event.stage, event.message]);
      assert.ok(cause!.evidence.includes(`${stage} at ${at}: ${message}`), sequence.rule);
    }
  }
});

test("no two recorded boots have the same sentence, nor the same thing to do word by word", () => {
  const causes = SEQUENCES.map((sequence) => ({ ...explained(sequence).findings[0]!, sequence }));
  for (const [n, a] of causes.entries())
    for (const b of causes.slice(n + 1)) {
      // Recorded by the BMC itself, or seen of what came after: one stall, two ways to know it.
      const both = `${a.rule} ${b.rule}`;
      if (both === "override-ignored override-ignored-seen") continue;
      assert.is.not(a.what, b.what, both);
    }
});

test("without an event that it cites, a boot is another one and has another sentence", () => {
  for (const sequence of SEQUENCES) {
    const events = timelineOf(sequence);
    const [cause] = explained(sequence).findings;
    for (const { seq } of cause!.events!) {
      const neighbour = explained(
        sequence,
        events.filter((event) => event.seq !== seq),
      );
      assert.is.not(neighbour.summary, explained(sequence).summary, `${sequence.rule} without event ${seq}`);
    }
  }
});

test("a cited event of another kind makes another sentence", () => {
  for (const sequence of SEQUENCES) {
    const events = timelineOf(sequence);
    const [cause] = explained(sequence).findings;
    if (sequence.circumstances !== undefined) continue; // what it follows from is no event
    const { seq } = cause!.events!.at(-1)!;
    const other = events.map((event) =>
      event.seq === seq ? ({ ...event, stage: "note", detail: {}, level: "info" } as TimelineEvent) : event,
    );
    const ids = fired(sequence, other).map(({ rule }) => rule.id);
    assert.not.ok(ids.includes(sequence.rule), sequence.rule);
  }
});

test("a machine that gets over it is no longer said to have it", () => {
  for (const sequence of SEQUENCES) {
    // What several boots in an hour say together stays so until one is ready.
    const events = timelineOf(sequence);
    const whole = timelineOf({ rule: "", upTo: "docker", silentS: 1 }).map((event, n) => ({
      ...event,
      seq: events.length + n + 1,
    }));
    const earlier = events.map((event) => ({ ...event, at: new Date(Date.parse(event.at) - 150_000).toISOString() }));
    const plain = { ...sequence, circumstances: {} };
    const ids = fired(plain, [...earlier, ...whole]).map(({ rule }) => rule.id);
    const readyAfter = [...earlier, ...whole, { ...whole.at(-1)!, stage: "ready", seq: 1_000 } as TimelineEvent];
    if (sequence.rule !== "boot-loop" && sequence.rule !== "override-ignored" && sequence.rule !== "loop-guard")
      assert.equal(ids, [], sequence.rule);
    assert.is(
      diagnose({ ...machineOf(plain), state: "ready" }, readyAfter, circumstancesFor({})).summary,
      "node-1 is a ready host.",
    );
  }
});

test("a good boot is never said to have stopped, at any of its steps", () => {
  for (const [n, name] of STEPS.entries()) {
    const sequence: Sequence = { rule: "", upTo: name, silentS: 15 };
    assert.equal(
      fired(sequence).map(({ rule }) => rule.id),
      [],
      name,
    );
    if (name !== "ready") assert.match(explained(sequence).summary, `node-1 is booting: ${GOOD[n]![2]}`);
  }
});

test("every code that somebody records as trouble is one that a rule follows from", () => {
  const follows = STALLS.map((rule) => rule.follows).join(" ");
  // Steps of a good boot, facts, and what is said beside the cause.
  const noStall: BootCode[] = [
    "address-taken",
    "boot-server-asked",
    "rung",
    "firmware-learnt",
    "ipxe-runs",
    "root-from-peer",
    "waits-for-approval",
    "changed",
    "own-disk",
    "rescue",
    "power-on",
    "power-off",
    "power-cycle",
    "override-set",
    "bmc-factory-password",
    "disk-none",
    "disk-not-empty",
    "disk-missing",
    "disk-failed",
    "wipe-refused",
    "install-refused",
    "install-failed",
    "slot-fell-back",
  ];
  for (const code of Object.keys(BOOT_CODES) as BootCode[])
    assert.is(new RegExp(`code ${code}\\b`).test(follows), !noStall.includes(code), code);
});

test("a refusal of the initrd is said while the machine tries again, and how often it was the same", () => {
  const refusal = SEQUENCES.find(({ rule }) => rule === "initrd-memory")!;
  const first = timelineOf(refusal);
  const again = timelineOf(refusal).map((event, n) => ({ ...event, seq: first.length + n + 1, bootId: "b2" }));
  const earlier = first.map((event) => ({ ...event, at: new Date(Date.parse(event.at) - 60_000).toISOString() }));
  const { summary } = explained(refusal, [...earlier, ...again]);
  assert.match(summary, /has too little memory: .* 2 times by now\)\.$/);
  assert.match(explained(refusal, [...earlier, again[0]!]).summary, "has too little memory", "its next try has begun");
});

test("what was learnt of its firmware and its order are facts beside the sentence", () => {
  const sequence: Sequence = {
    rule: "",
    upTo: "taken",
    next: [{ stage: "offer", message: "rung 1 is what it boots by", detail: { code: "firmware-learnt", rung: 1 } }],
    circumstances: {
      order: {
        ...{ id: "o1", machineId: "m1", machine: "node-1", kind: "power-cycle", state: "running" },
        ...{ step: "waits for the machine to ask", reason: "", orderedAt: NOW.toISOString(), orderedBy: "admin" },
      },
    },
  };
  assert.equal(explained(sequence).facts, [
    "of its firmware was learnt: rung 1 is what it boots by",
    "order power-cycle of admin is running: waits for the machine to ask",
  ]);
});

test("what a host says of its disks is a finding of a ready host, each with what to do", () => {
  for (const code of [
    ...(["disk-none", "disk-not-empty", "disk-missing", "disk-failed", "wipe-refused"] as const),
    ...(["install-refused", "install-failed", "slot-fell-back"] as const),
  ]) {
    const sequence: Sequence = {
      rule: code,
      upTo: "ready",
      next: [{ stage: "disk", level: "warning", message: `words of ${code}`, detail: { code } }],
      machine: { state: "ready" },
    };
    const { summary, findings } = explained(sequence);
    assert.is(summary, "node-1 is a ready host.");
    assert.equal(
      findings.map(({ rule, level }) => [rule, level]),
      [[code, "warning"]],
    );
    assert.match(findings[0]!.what, `words of ${code}`);
  }
});

test.run();

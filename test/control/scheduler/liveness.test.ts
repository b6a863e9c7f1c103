import { test } from "uvu";
import * as assert from "uvu/assert";
import { Liveness, type LivenessOptions, type Verdict } from "../../../control/scheduler/liveness.ts";

/** Hosts that report every 2 s unless silent, and a tick every 500 ms of a clock that only the test moves. */
function cluster(count: number, options: LivenessOptions = {}) {
  const names = Array.from({ length: count }, (_, at) => `h${at}`);
  const silent = new Set<string>();
  const verdicts: { at: number; verdict: string }[] = [];
  const liveness = new Liveness(0, options);
  for (const name of names) liveness.know(name, { lost: false, hasJobs: true, heldForMs: 0 }, 0);
  let nowMs = 0;
  const note = (verdict: Verdict | undefined) => {
    if (verdict) verdicts.push({ at: nowMs, verdict: `${verdict.type} ${verdict.hostId}` });
    return verdict;
  };
  const pass = (ms: number) => {
    for (const end = nowMs + ms; nowMs < end; ) {
      nowMs += 500;
      if (nowMs % 2000 === 0) for (const name of names) if (!silent.has(name)) note(liveness.seen(name, nowMs));
      for (const verdict of liveness.tick(nowMs)) note(verdict);
    }
    return verdicts.splice(0).map((each) => each.verdict);
  };
  const sleepThrough = (ms: number) => {
    nowMs += ms;
    for (const verdict of liveness.tick(nowMs)) note(verdict);
  };
  return { liveness, silent, pass, sleepThrough, note, now: () => nowMs };
}

test("a host that reports is never lost", () => {
  assert.equal(cluster(3).pass(600_000), []);
});

test("a host is lost and given up after 10 s of silence, not before", () => {
  const c = cluster(3);
  c.pass(20_000);
  c.silent.add("h1");
  assert.equal(c.pass(9_500), []);
  assert.equal(c.pass(500), ["lost h1", "evict h1"]);
});

test("one dead of three is replaced: the brake always lets a single host go", () => {
  for (const count of [2, 3, 4]) {
    const c = cluster(count);
    c.pass(2_000);
    c.silent.add("h0");
    assert.equal(c.pass(15_000), ["lost h0", "evict h0"]);
    assert.not(c.liveness.brake().on);
  }
});

test("a second single loss soon after the first came back is replaced as fast", () => {
  const c = cluster(3);
  c.pass(2_000);
  c.silent.add("h0");
  c.pass(12_000);
  c.silent.clear();
  c.pass(6_000);
  c.silent.add("h1");
  assert.equal(c.pass(12_000), ["lost h1", "evict h1"]);
});

test("more than 30 % lost together: nobody is given up, and the status says so", () => {
  const c = cluster(10);
  c.pass(2_000);
  for (const name of ["h0", "h1", "h2", "h3"]) c.silent.add(name);
  assert.equal(c.pass(60_000), ["lost h0", "lost h1", "lost h2", "lost h3"]);
  assert.equal(c.liveness.brake(), { on: true, waiting: 4, allowedPerMinute: 3 });
});

test("hosts that fall silent together with their frames out of step are lost together", () => {
  const c = cluster(3);
  c.pass(2_000);
  c.silent.add("h0");
  c.pass(2_000);
  c.silent.add("h1");
  assert.equal(c.pass(20_000), ["lost h0", "lost h1"]);
  assert.equal(c.liveness.brake(), { on: true, waiting: 2, allowedPerMinute: 1 });
});

test("a host that is only late holds the replacement of a dead one up for no longer than its next frame", () => {
  const c = cluster(3);
  c.pass(2_000);
  c.silent.add("h0");
  c.pass(2_000);
  c.silent.add("h1");
  assert.equal(c.pass(8_000), ["lost h0"]);
  c.silent.delete("h1");
  assert.equal(c.pass(2_000), ["evict h0"]);
  assert.not(c.liveness.brake().on);
});

test("30 % of ten lost together are replaced", () => {
  const c = cluster(10);
  c.pass(2_000);
  for (const name of ["h0", "h1", "h2"]) c.silent.add(name);
  const seen = c.pass(12_000);
  assert.equal(seen.filter((each) => each.startsWith("evict")).length, 3);
});

test("hosts that come back in time keep their jobs, and the brake is off again", () => {
  const c = cluster(10);
  c.pass(2_000);
  for (const name of ["h0", "h1", "h2", "h3"]) c.silent.add(name);
  c.pass(60_000);
  c.silent.clear();
  assert.equal(c.pass(2_000), ["returned h0", "returned h1", "returned h2", "returned h3"]);
  c.pass(60_000);
  assert.equal(c.liveness.brake(), { on: false, waiting: 0, allowedPerMinute: 3 });
});

test("dead for good under the brake: given up after the hold, at the brake's rate", () => {
  const c = cluster(10, { brakeHoldMs: 120_000 });
  c.pass(2_000);
  for (const name of ["h0", "h1", "h2", "h3", "h4"]) c.silent.add(name);
  c.pass(130_000);
  const first = c.pass(61_000).filter((each) => each.startsWith("evict"));
  assert.equal(first, ["evict h0", "evict h1", "evict h2"]);
  assert.equal(c.pass(61_000), ["evict h3", "evict h4"]);
});

test("when every host is silent none is given up, however long", () => {
  for (const count of [1, 3]) {
    const c = cluster(count);
    c.pass(2_000);
    for (let at = 0; at < count; at++) c.silent.add(`h${at}`);
    assert.equal(
      c.pass(3_600_000).filter((each) => each.startsWith("evict")),
      [],
    );
  }
});

test("a start grants every host a full TTL, whoever was silent before", () => {
  const c = cluster(3);
  for (const name of ["h0", "h1", "h2"]) c.silent.add(name);
  assert.equal(c.pass(9_500), []);
});

test("a minute in which we ourselves stood still costs no host its life", () => {
  const c = cluster(3);
  c.pass(2_000);
  c.sleepThrough(60_000);
  assert.equal(c.pass(9_000), []);
  c.silent.add("h0");
  assert.equal(c.pass(12_000), ["lost h0", "evict h0"], "and one that is dead after it is found");
});

test("a host recorded as lost whose jobs were left alone is judged again after a full TTL", () => {
  const liveness = new Liveness(0);
  liveness.know("alive", { lost: false, hasJobs: true, heldForMs: 0 }, 0);
  liveness.know("lost", { lost: true, hasJobs: true, heldForMs: 0 }, 0);
  liveness.know("empty", { lost: true, hasJobs: false, heldForMs: 0 }, 0);
  const seen: string[] = [];
  for (let at = 500; at <= 12_000; at += 500) {
    liveness.seen("alive", at);
    seen.push(...liveness.tick(at).map((verdict) => `${verdict.type} ${verdict.hostId} ${at}`));
  }
  assert.equal(seen, ["lost lost 10000", "evict lost 10000"]);
});

test("the first return is free, a flapping host is held ever longer and then released", () => {
  const c = cluster(5);
  c.pass(2_000);
  const flap = () => {
    c.silent.add("h0");
    c.pass(12_000);
    c.silent.delete("h0");
    return c.note(c.liveness.seen("h0", c.now()));
  };
  const held = [flap(), flap(), flap(), flap()].map((verdict) => verdict?.type === "returned" && verdict.heldForMs);
  assert.equal(held, [0, 30_000, 60_000, 120_000]);
  c.pass(100_000);
  assert.equal(c.pass(30_000), ["released h0"]);
});

test("a hold-down recorded before the start goes on", () => {
  const liveness = new Liveness(0);
  liveness.know("h", { lost: false, hasJobs: false, heldForMs: 5_000 }, 0);
  liveness.seen("h", 2_000);
  assert.equal(liveness.tick(2_500), []);
  assert.equal(liveness.tick(5_000), [{ type: "released", hostId: "h" }]);
});

test.run();

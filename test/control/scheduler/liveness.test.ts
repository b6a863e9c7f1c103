import { test } from "uvu";
import * as assert from "uvu/assert";
import { Liveness, type LivenessOptions, type Verdict } from "../../../control/scheduler/liveness.ts";

/** Hosts that report every 2 s unless silent, and a tick every 500 ms of a clock that only the test moves. */
function cluster(count: number, options: LivenessOptions = {}) {
  const names = Array.from({ length: count }, (_, at) => `h${at}`);
  const silent = new Set<string>();
  const planned = new Set<string>();
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
      for (const verdict of liveness.tick(nowMs, (name) => planned.has(name))) note(verdict);
    }
    return verdicts.splice(0).map((each) => each.verdict);
  };
  const sleepThrough = (ms: number) => {
    nowMs += ms;
    for (const verdict of liveness.tick(nowMs)) note(verdict);
  };
  return { liveness, silent, planned, pass, sleepThrough, note, now: () => nowMs };
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

test("hosts that were told to reboot set no brake, however many they are, and one that dies meanwhile is replaced", () => {
  const c = cluster(4);
  c.pass(2_000);
  for (const name of ["h0", "h1"]) {
    c.planned.add(name);
    c.silent.add(name);
  }
  assert.equal(c.pass(15_000), ["lost h0", "lost h1", "evict h0", "evict h1"]);
  c.silent.add("h2");
  assert.equal(c.pass(15_000), ["lost h2", "evict h2"]);
  assert.not(c.liveness.brake().on);
});

test("a host that reboots as it was told does not flap, however often; by itself it does", () => {
  const c = cluster(3);
  c.pass(2_000);
  const reboot = () => {
    c.silent.add("h0");
    const lost = c.pass(20_000);
    c.silent.clear();
    return [...lost, ...c.pass(2_000)];
  };
  c.planned.add("h0");
  for (let n = 0; n < 4; n++) assert.equal(reboot(), ["lost h0", "evict h0", "returned h0"]);
  c.planned.clear();
  assert.equal([...reboot(), ...reboot(), ...c.pass(40_000)].at(-1), "released h0");
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

test("a hold-down that is longer than any is cut to ten minutes, and one that is over holds nothing", () => {
  for (const [heldForMs, releasedMs] of [
    [900_000, 600_000],
    [600_000, 600_000],
    [0, undefined],
    [-5, undefined],
  ] as const) {
    const liveness = new Liveness(0);
    liveness.know("h", { lost: false, hasJobs: false, heldForMs }, 0);
    let released: number | undefined;
    for (let at = 500; at <= 700_000; at += 500) {
      liveness.seen("h", at);
      for (const { type } of liveness.tick(at)) if (type === "released") released = at;
    }
    assert.is(released, releasedMs);
  }
});

test("holds double up to ten minutes; a return that is half an hour past does not count", () => {
  const liveness = new Liveness(0);
  let at = 0;
  liveness.know("h", { lost: false, hasJobs: false, heldForMs: 0 }, at);
  const flap = (afterMs: number) => {
    for (const end = at + afterMs; at < end; ) {
      at += 500;
      liveness.tick(at);
    }
    const verdict = liveness.seen("h", at);
    return verdict?.type === "returned" ? verdict.heldForMs : "nothing";
  };
  assert.is(flap(9_500), "nothing");
  assert.equal(
    Array.from({ length: 8 }, () => flap(10_000)),
    [0, 30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000],
  );
  assert.is(flap(1_800_000), 0);
  assert.is(flap(1_799_500), 30_000);
  assert.is(flap(1_800_000), 0, "the one before is exactly half an hour past");
});

test("a host that is not known is known from its first frame on, and a forgotten one is nobody's loss", () => {
  const liveness = new Liveness(0);
  assert.is(liveness.seenAtMs("h"), undefined);
  assert.is(liveness.seen("h", 700), undefined);
  assert.is(liveness.seenAtMs("h"), 700);
  liveness.know("other", { lost: false, hasJobs: true, heldForMs: 0 }, 700);
  liveness.forget("h");
  assert.is(liveness.seenAtMs("h"), undefined);
  for (let at = 1_000; at <= 20_000; at += 500) {
    liveness.seen("other", at);
    assert.equal(liveness.tick(at), []);
  }
});

test("a tick three seconds after the one before is late and no sleep; a moment later we slept", () => {
  for (const [sleptMs, verdicts] of [
    [3_000, 1],
    [3_001, 0],
  ] as const) {
    const liveness = new Liveness(0);
    for (const name of ["h", "other"]) liveness.know(name, { lost: false, hasJobs: true, heldForMs: 0 }, 0);
    for (let at = 500; at <= 9_500; at += 500) liveness.tick(at);
    liveness.seen("other", 9_500);
    const found = liveness.tick(9_500 + sleptMs).filter(({ type }) => type === "lost");
    assert.is(found.length, verdicts, `${sleptMs}`);
  }
});

/** Ticks `everyMs` apart, for `forMs`; hosts that are not silent are heard every 2 s between. */
function slowTicks(count: number, silent: readonly string[], gapsMs: readonly number[], forMs: number) {
  const names = Array.from({ length: count }, (_, at) => `h${at}`);
  const liveness = new Liveness(0);
  for (const name of names) liveness.know(name, { lost: false, hasJobs: true, heldForMs: 0 }, 0);
  const found: { verdict: string; atMs: number }[] = [];
  let heardMs = 0;
  for (let [nowMs, n] = [0, 0]; nowMs < forMs; n++) {
    nowMs += gapsMs[n % gapsMs.length]!;
    for (; heardMs + 2_000 <= nowMs; heardMs += 2_000)
      for (const name of names) if (!silent.includes(name)) liveness.seen(name, heardMs + 2_000);
    for (const { type, hostId } of liveness.tick(nowMs)) found.push({ verdict: `${type} ${hostId}`, atMs: nowMs });
  }
  return { found, brake: liveness.brake() };
}

test("ticks that are always late, and every other one late, find a dead host and nobody else", () => {
  for (const gapsMs of [[3_100], [3_100, 500], [500, 3_500, 500, 500], [9_000], [30_000]]) {
    const { found } = slowTicks(10, ["h3"], gapsMs, 3_600_000);
    assert.equal(
      found.map(({ verdict }) => verdict),
      ["lost h3", "evict h3"],
      gapsMs.join(),
    );
    // Its silence is forgiven once, and of each gap three seconds count.
    const counted =
      gapsMs.reduce((sum, gap) => sum + Math.min(gap, 3_000), 0) / gapsMs.reduce((sum, gap) => sum + gap, 0);
    assert.ok(found[0]!.atMs <= (10_000 + 3_500) / counted + 2 * Math.max(...gapsMs), `${found[0]!.atMs}`);
  }
});

test("slow ticks leave the brake as it is: many silent together are left alone", () => {
  const { found, brake } = slowTicks(10, ["h0", "h1", "h2", "h3"], [3_100], 120_000);
  assert.is(found.filter(({ verdict }) => verdict.startsWith("evict")).length, 0);
  assert.equal([brake.on, brake.waiting], [true, 4]);
});

test("standing still again before anybody was heard costs no host its life either", () => {
  const c = cluster(5);
  c.pass(10_000);
  for (let n = 0; n < 2; n++) c.sleepThrough(3_600_000);
  assert.equal(c.pass(20_000), []);
});

test("the brake lets go of at least one, and of so many of a hundred as its share says", () => {
  const allowed = (count: number, brakeShare?: number) =>
    cluster(count, brakeShare === undefined ? {} : { brakeShare }).liveness.brake().allowedPerMinute;
  assert.equal([allowed(1), allowed(3), allowed(6), allowed(7), allowed(100), allowed(100, 0.05)], [1, 1, 1, 2, 30, 5]);
});

test("how many are waiting under the brake is said: lost, and their jobs left alone", () => {
  const c = cluster(10);
  c.pass(2_000);
  for (const name of ["h0", "h1", "h2", "h3"]) c.silent.add(name);
  c.pass(20_000);
  assert.equal(c.liveness.brake(), { on: true, waiting: 4, allowedPerMinute: 3 });
  c.pass(355_000); // the hold begins anew with each turn that has lost too many within a minute
  const { on, waiting } = c.liveness.brake();
  assert.equal([on, waiting], [true, 1], "three of them were given up in the first minute after the hold");
});

test("a host that was given up and comes back is in use again, and is given up anew when it falls silent again", () => {
  const c = cluster(5);
  c.pass(2_000);
  c.silent.add("h0");
  assert.equal(c.pass(12_000), ["lost h0", "evict h0"]);
  c.silent.delete("h0");
  assert.equal(c.pass(2_000), ["returned h0"]);
  c.pass(120_000);
  c.silent.add("h0");
  assert.equal(c.pass(12_000), ["lost h0", "evict h0"]);
});

/** Hosts that were all seen at 0; a tick each second in which those named are heard. */
function watched(count: number, options: LivenessOptions = {}, settled = 0) {
  const liveness = new Liveness(0, options);
  const names = Array.from({ length: count }, (_, at) => `h${at}`);
  for (const name of names) liveness.know(name, { lost: false, hasJobs: true, heldForMs: 0 }, 0);
  for (let at = 0; at < settled; at++) liveness.know(`old${at}`, { lost: true, hasJobs: false, heldForMs: 0 }, 0);
  let nowMs = 0;
  const hear = (heard: readonly string[], toMs: number): Verdict[] => {
    let verdicts: Verdict[] = [];
    while (nowMs < toMs) {
      nowMs += 1_000;
      for (const name of heard) liveness.seen(name, nowMs);
      verdicts = verdicts.concat(liveness.tick(nowMs));
    }
    return verdicts;
  };
  return { liveness, names, hear };
}

test("standing still between the start and the first tick costs no host its life either", () => {
  const liveness = new Liveness(1_000);
  for (const name of ["h0", "h1"]) liveness.know(name, { lost: false, hasJobs: true, heldForMs: 0 }, 1_000);
  assert.equal(liveness.tick(61_000), []);
  for (let nowMs = 61_500; nowMs < 71_000; nowMs += 500) assert.equal(liveness.tick(nowMs), [], `${nowMs}`);
  assert.is(liveness.tick(71_000).filter(({ type }) => type === "lost").length, 2, "ten seconds later");
});

test("a host that came by itself is in no hold-down, and is lost and given up like the others", () => {
  const { liveness, hear } = watched(2);
  liveness.seen("new", 0);
  assert.equal(hear(["h0", "h1"], 9_000), []);
  assert.equal(hear(["h0", "h1"], 10_000), [
    { type: "lost", hostId: "new" },
    { type: "evict", hostId: "new" },
  ]);
});

test("a hold-down of a millisecond ends after it", () => {
  const liveness = new Liveness(0);
  liveness.know("h0", { lost: false, hasJobs: true, heldForMs: 1 }, 0);
  assert.equal(liveness.tick(0), []);
  assert.equal(liveness.tick(1), [{ type: "released", hostId: "h0" }]);
  assert.equal(liveness.tick(2), []);
});

test("hosts that were given up long ago are none of those that may be given up now", () => {
  const braked = (dead: number, settled: number) => {
    const { liveness, names, hear } = watched(10, {}, settled);
    const verdicts = hear(names.slice(dead), 75_000);
    assert.is(verdicts.filter(({ type }) => type === "evict").length, liveness.brake().on ? 0 : dead);
    return liveness.brake().on;
  };
  assert.equal([braked(3, 0), braked(4, 0), braked(3, 10), braked(4, 10)], [false, true, false, true]);
});

test("a dead host is replaced at once while those that may follow are within what the brake allows, and waits for more", () => {
  const { names, hear } = watched(10);
  // h0 is dead; h1 and h2 were heard 7 s before it is lost, so that they may be next: three of ten are allowed.
  hear(names.slice(1), 3_000);
  const lost: Verdict[] = [
    { type: "lost", hostId: "h0" },
    { type: "evict", hostId: "h0" },
  ];
  assert.equal(hear(names.slice(3), 10_000), lost);
  const more = watched(10);
  more.hear(names.slice(1), 3_000);
  assert.equal(more.hear(names.slice(4), 10_000), [{ type: "lost", hostId: "h0" }], "a fourth may follow");
  assert.equal(more.hear(names.slice(1), 11_000), [{ type: "evict", hostId: "h0" }], "they were only late");
});

test("under the brake nobody is given up before the hold is over, and then at its end", () => {
  const { names, hear, liveness } = watched(10, { brakeHoldMs: 90_000 });
  const alive = names.slice(4);
  hear(alive, 10_000);
  assert.ok(liveness.brake().on);
  // The brake is taken hold of anew as long as the losses are fresh: for a minute less a tick.
  assert.equal(hear(alive, 158_000), []);
  assert.equal(
    hear(alive, 159_000).map(({ type }) => type),
    ["evict", "evict", "evict"],
  );
});

test("the hold is five minutes unless it was set otherwise", () => {
  const { names, hear } = watched(10);
  assert.equal(
    hear(names.slice(4), 368_000).filter(({ type }) => type === "evict"),
    [],
  );
  assert.is(hear(names.slice(4), 369_000).length, 3);
});

test.run();

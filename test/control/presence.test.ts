// Who is there, by a clock that the test holds.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { behind } from "../../control/alerts/view.ts";
import { type Presence, presence } from "../../control/presence.ts";

interface Clock {
  ms: number;
}
function beside(body: (there: Presence, clock: Clock) => void, startMs = 1_000) {
  const clock = { ms: startMs };
  const there = presence({ monotonicMs: () => clock.ms, now: () => new Date(clock.ms) });
  try {
    body(there, clock);
  } finally {
    there.close();
  }
}
const report = (seq: number) => ({ term: 1, seq }) as never;

test("of each host and router the newest report is known, and when it came, on both clocks", () =>
  beside((there, clock) => {
    there.hostSeen("h1", report(1));
    clock.ms = 3_000;
    there.hostSeen("h1", report(2));
    there.routerSeen("r1", report(7));
    const seen = { atMs: 3_000, at: "1970-01-01T00:00:03.000Z" };
    assert.equal([...there.hosts], [["h1", { ...seen, report: report(2) }]]);
    assert.equal([...there.routers], [["r1", { ...seen, advancedMs: 3_000, report: report(7) }]]);
    assert.is(there.startedMs, 1_000);
    assert.is(there.nowMs(), 3_000);
  }));

test("a host's beat is known while it is of the report that came last, and makes what is known of it newer", () =>
  beside((there, clock) => {
    const beat = (digest: string) => there.hostBeat("h1", { digest, seq: 2 } as never);
    assert.is(beat("d1"), false, "nothing came yet");
    there.hostSeen("h1", { term: 1, seq: 1, digest: "d1" } as never);
    clock.ms = 5_000;
    assert.is(beat("d1"), true);
    assert.is(there.hosts.get("h1")?.atMs, 5_000);
    assert.is(beat("d2"), false, "of another report");
  }));

test("how far a router is behind counts from when what it serves last became newer", () =>
  beside((there, clock) => {
    const serves = (term: number, generation: number) => there.routerSeen("r1", { term, generation } as never);
    const behindNow = () => behind(there.routers.get("r1"), { term: 2, generation: 9 }, clock.ms).behindMs;
    assert.is(behindNow(), undefined, "one that was never heard");
    serves(1, 30);
    clock.ms += 2_000;
    serves(1, 30);
    assert.is(behindNow(), 2_000, "its generations are those of a control before");
    serves(2, 8);
    assert.is(behindNow(), 0);
    clock.ms += 5_000;
    serves(2, 8);
    assert.is(behindNow(), 5_000);
    serves(2, 9);
    assert.is(behindNow(), undefined);
    clock.ms += 60_000;
    serves(2, 9);
    assert.is(behindNow(), undefined, "there has been nothing newer");
  }));

test("a frame is heard after it is there to read, until the listener goes", () =>
  beside((there) => {
    const heard: string[] = [];
    const stop = there.onFrame((id) => heard.push(`${id} ${there.hosts.has(id) || there.routers.has(id)}`));
    there.hostSeen("h1", report(1));
    there.routerSeen("r1", report(1));
    stop();
    there.hostSeen("h2", report(1));
    assert.equal(heard, ["h1 true", "r1 true"]);
  }));

test("a listener that throws keeps no frame from being taken in, nor another listener from hearing of it", () => {
  const errors: unknown[] = [];
  const there = presence({ monotonicMs: () => 0, now: () => new Date(0), onError: (error) => errors.push(error) });
  try {
    const heard: string[] = [];
    there.onFrame(() => {
      throw new Error("broken");
    });
    there.onFrame((id) => heard.push(id));
    there.hostSeen("h1", report(1));
    there.routerSeen("r1", report(1));
    const certificate = {} as never;
    there.memberSeen("m1", { role: "host", certificate });
    there.memberSeen("m2", { role: "host", certificate, refusal: "it speaks another protocol" });
    assert.equal(heard, ["h1", "r1", "m2"], "of a member only its refusal is news");
    assert.equal([there.hosts.size, there.routers.size, [...there.members.keys()]], [1, 1, ["m1", "m2"]]);
    assert.is(errors.length, 3);
  } finally {
    there.close();
  }
});

test("a host is heard by a report or by joining, whichever is later; one that was never heard has no time", () =>
  beside((there, clock) => {
    assert.is(there.heardMs("h1"), undefined);
    there.hostJoined("h1");
    assert.is(there.heardMs("h1"), 1_000);
    clock.ms = 2_000;
    there.hostSeen("h1", report(1));
    assert.is(there.heardMs("h1"), 2_000);
    clock.ms = 3_000;
    there.hostJoined("h1");
    assert.is(there.heardMs("h1"), 3_000);
    there.forget("h1");
    assert.is(there.heardMs("h1"), undefined);
    assert.is(there.hosts.size, 0);
  }));

test("a host that was heard at the clock's first moment was heard", () =>
  beside((there) => {
    there.hostJoined("h1");
    assert.is(there.heardMs("h1"), 0);
  }, 0));

test("a host lives beside a boot when it is heard after the boot began, or too lately for anything to have booted", () =>
  beside((there, clock) => {
    assert.not(there.aliveBeside(undefined, "b1"));
    assert.not(there.aliveBeside("h1", "b1"));
    there.hostSeen("h1", report(1));
    assert.ok(there.aliveBeside("h1", "b1"), "heard just now");
    clock.ms += 4_999;
    assert.ok(there.aliveBeside("h1", "b1"));
    clock.ms += 1;
    assert.not(there.aliveBeside("h1", "b1"), "a boot takes as long as that");
    there.bootBegan("m1", "b1");
    assert.not(there.aliveBeside("h1", "b1"), "silent since before the boot");
    clock.ms += 1;
    there.hostSeen("h1", report(2));
    clock.ms += 60_000;
    assert.ok(there.aliveBeside("h1", "b1"), "heard since the boot began");
    assert.not(there.aliveBeside("h1", "b2"), "of a boot that nobody saw begin nothing is known");
  }));

test("a host last heard at the very moment its boot was seen to begin may be the one that boots", () =>
  beside((there, clock) => {
    there.hostSeen("h1", report(1));
    there.bootBegan("m1", "b1");
    clock.ms += 5_000;
    assert.not(there.aliveBeside("h1", "b1"));
  }));

test("of a boot the first sighting counts, of a machine the newest boot", () =>
  beside((there, clock) => {
    there.bootBegan("m1", "b1");
    clock.ms = 2_000;
    there.bootBegan("m1", "b2");
    there.bootBegan("m1", "b1");
    there.bootBegan("m2", "b9");
    assert.equal(
      [...there.begun],
      [
        ["b1", 1_000],
        ["b2", 2_000],
        ["b9", 2_000],
      ],
    );
    assert.equal([there.newestBoot("m1"), there.newestBoot("m2"), there.newestBoot("m3")], ["b2", "b9", undefined]);
    there.grantShown("b1");
    clock.ms = 3_000;
    there.grantShown("b1");
    assert.equal([...there.asked], [["b1", 2_000]]);
  }));

test("a flood of boots is forgotten from its oldest on, 10,000 are known", () =>
  beside((there) => {
    for (let n = 0; n <= 10_000; n++) {
      there.bootBegan(`m${n}`, `b${n}`);
      there.grantShown(`b${n}`);
    }
    for (const map of [there.begun, there.asked])
      assert.equal([map.size, map.has("b0"), map.has("b1"), map.has("b10000")], [10_000, false, true, true]);
    assert.equal([there.newestBoot("m0"), there.newestBoot("m1")], [undefined, "b1"]);
  }));

test("a machine that boots again is as new as that boot in the flood", () =>
  beside((there) => {
    for (let n = 0; n < 10_000; n++) there.bootBegan(`m${n}`, `b${n}`);
    there.bootBegan("m0", "again");
    there.bootBegan("m10000", "b10000");
    assert.equal([there.newestBoot("m0"), there.newestBoot("m1")], ["again", undefined]);
  }));

test("a boot server is there while it follows its target, and a minute after it was last heard", () =>
  beside((there, clock) => {
    assert.is(there.bootServersThere(), 0);
    there.bootServerSeen("s1");
    const [stop, stopOther] = [there.bootServerFollows("s2"), there.bootServerFollows("s2")];
    assert.is(there.bootServersThere(), 2);
    clock.ms += 59_999;
    assert.is(there.bootServersThere(), 2);
    clock.ms += 1;
    assert.is(there.bootServersThere(), 1, "one that only spoke a minute ago");
    stop();
    clock.ms += 60_000;
    assert.is(there.bootServersThere(), 1, "its other stream is open");
    stopOther();
    assert.is(there.bootServersThere(), 1, "heard as it went");
    clock.ms += 60_000;
    assert.is(there.bootServersThere(), 0);
    there.bootServerFollows("s2");
    there.forget("s2");
    assert.equal([there.bootServersThere(), there.bootServers.has("s2")], [0, false]);
  }));

test("control knows when it has not run for more than a second and a half, and keeps when that was found", () =>
  beside((there, clock) => {
    assert.is(there.sleptMs(), undefined);
    clock.ms += 1_500;
    assert.is(there.sleptMs(), undefined);
    clock.ms += 1_501;
    assert.is(there.sleptMs(), 4_001);
    clock.ms += 100;
    assert.is(there.sleptMs(), 4_001);
  }));

test.run();

// The boot doctor, by table: where a machine stands, and after which silence it says that something is wrong.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Machine, TimelineEvent } from "#api/machines.ts";
import { diagnose } from "../../../control/doctor/diagnose.ts";

const NOW = new Date("2026-01-01T12:00:00.000Z");
const before = (seconds: number): string => new Date(NOW.getTime() - seconds * 1_000).toISOString();
const machine = (over: Partial<Machine> = {}): Machine =>
  ({
    id: "m1",
    name: "node-1",
    state: "booting",
    identity: { mac: "52:54:00:00:00:01" },
    ...over,
  }) as unknown as Machine;
const step = (stage: string, seconds: number, over: object = {}): TimelineEvent =>
  ({ stage, at: before(seconds), level: "info", message: `${stage} happened`, ...over }) as unknown as TimelineEvent;
const told = (
  of: Partial<Machine>,
  timeline: TimelineEvent[] = [],
  more: { hostSeenAt?: string; bootServers?: number } = {},
) => diagnose(machine(of), timeline, { now: NOW, bootServers: 1, ...more });

test("a machine that nobody waits for says so in one sentence", () => {
  const table: [Partial<Machine>, RegExp, { hostSeenAt?: string }?][] = [
    [{ state: "ready" }, /^node-1 is a ready host\.$/],
    [{ state: "ready" }, /^node-1 is a ready host, last heard 1m30s ago\.$/, { hostSeenAt: before(90) }],
    [{ state: "ready" }, /last heard 0\S* ago\.$/, { hostSeenAt: before(-5) }],
    [{ state: "lost" }, /was a host and fell silent 1m30s ago: power, link or kernel/, { hostSeenAt: before(90) }],
    [{ state: "lost" }, /was a host and fell silent: power/],
    [{ state: "rejected" }, /was rejected; it gets no boot file/],
    [{ state: "discovered" }, /waits for approval: flynn machine approve node-1/],
    [{ state: "approved" }, /has not been seen booting yet/],
  ];
  for (const [of, summary, more] of table) assert.match(told(of, [], more).summary, summary);
});

test("each step may be followed by an ordinary silence, and no longer", () => {
  const table: [stage: string, patience: number, what: string][] = [
    ["discover", 20, "got no offer from us"],
    ["offer", 30, "no DHCP server of its network gave it an address"],
    ["tftp", 30, "did not come back for a script"],
    ["wait-approval", 60, "stopped asking before it had it"],
    ["approved", 60, "has not asked for its boot script"],
    ["script", 60, "no sign of running it"],
    ["kernel", 120, "not the initrd"],
    ["initrd", 180, "its kernel was never heard of"],
    ["squashfs", 240, "did not ask for its seed"],
    ["seed", 180, "neither it nor the agent"],
    ["cloud-init", 180, "the agent did not join"],
    ["join", 120, "was not heard of since"],
    ["disk", 120, "the container engine is not up"],
  ];
  for (const [stage, patience, what] of table) {
    assert.match(told({}, [step(stage, patience)]).summary, `node-1 is booting: ${stage} happened`);
    const { summary, findings } = told({}, [step(stage, patience + 0.001)]);
    assert.match(summary, /^node-1 stopped: /);
    assert.match(summary, what);
    assert.equal([findings[0]!.level, findings.length], ["error", 1]);
    assert.match(findings[0]!.evidence, `${stage} at `);
  }
});

test("firmware that fetched iPXE and begins again at once was refused by itself; one that comes back much later was not", () => {
  assert.match(told({}, [step("tftp", 130), step("discover", 100)]).summary, /Secure Boot refused it/);
  assert.match(told({}, [step("tftp", 500), step("discover", 100)]).summary, /got no offer/);
  assert.match(told({}, [step("script", 130), step("discover", 100)]).summary, /got no offer/);
});

test("only what belongs to this boot counts", () => {
  const { summary } = told({ bootId: "b2" } as never, [
    step("seed", 5_000, { bootId: "b1" }),
    step("kernel", 10, { bootId: "b2" }),
  ]);
  assert.match(summary, /is booting: kernel happened/);
});

test("a warning of an earlier boot is none of this one; one of no boot, or from this one's beginning on, is", () => {
  const warned = (event: TimelineEvent) => {
    const of = [event, step("script", 100, { bootId: "b2" }), step("kernel", 10, { bootId: "b2" })];
    const sorted = of.sort((a, b) => (a.at < b.at ? -1 : 1));
    return told({ bootId: "b2" } as never, sorted).findings.length;
  };
  const warning = (agoS: number, bootId?: string) =>
    step("note", agoS, { level: "warning", ...(bootId === undefined ? {} : { bootId }) });
  assert.equal([warned(warning(5_000, "b1")), warned(warning(101, "b1"))], [0, 0]);
  assert.equal([warned(warning(5_000)), warned(warning(100, "b1")), warned(warning(50, "b1"))], [1, 1, 1]);
  assert.is(
    told({ bootId: "b9" } as never, [warning(5_000, "b1")]).findings.length,
    1,
    "of which nothing is known yet",
  );
});

test("warnings of the boot, an address asked for again and again, and no boot server are found", () => {
  const many = Array.from({ length: 4 }, (_, n) => step("discover", 10 + n));
  assert.match(
    told({}, many)
      .findings.map(({ what }) => what)
      .join(),
    /asked for an address 4 times/,
  );
  assert.equal(told({}, many.slice(1)).findings, []);
  assert.not.match(JSON.stringify(told({}, [...many, step("script", 9)]).findings), /asked for an address/);
  assert.match(told({ state: "ready" }, [], { bootServers: 0 }).findings[0]!.what, /no boot server is connected/);
  const [refused] = told({}, [step("token-refused", 5, { level: "warning" }), step("script", 4)]).findings;
  assert.match(refused!.todo, /see the timeline around it/);
  const six = Array.from({ length: 6 }, (_, n) => step("note", 10 - n, { level: "warning", message: `w${n}` }));
  assert.equal(
    told({}, [...six, step("script", 1)]).findings.map(({ what }) => what),
    ["w1", "w2", "w3", "w4", "w5"],
  );
});

test.run();
